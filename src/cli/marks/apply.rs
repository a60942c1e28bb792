//! Marking: the records are looked up, the undo list is written, and then one record is changed after the other.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::path::Path;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::cli::exit::Exit;
use crate::cli::marks::undo_list::{UndoList, strike};
use crate::cli::marks::{MarkTotals, Marks, Ready, failed, is_for_all};
use crate::cli::output::Failure;
use alyx_registration::{Error, MarkTarget, MarkedRecord, RecordChange, RegistrationClient};

impl Marks<'_> {
    /// Looks the records up, writes the undo list, and marks.
    pub(super) async fn mark(
        &self,
        client: &RegistrationClient,
        ready: Vec<Ready>,
        shutdown: &CancellationToken,
        totals: &mut MarkTotals,
    ) -> Result<(), Failure> {
        let mut records: Vec<(Ready, MarkedRecord)> = Vec::new();
        // Those of one session follow each other.
        for of_session in ready.chunk_by(|a, b| a.target.eid == b.target.eid) {
            let targets: Vec<MarkTarget> = of_session.iter().map(|ready| ready.target.clone()).collect();
            match client.records_to_mark(&targets).await {
                Ok(found) => {
                    for (ready, record) in of_session.iter().zip(found) {
                        let Ready { target, evidence } = ready;
                        let own = Ready { target: target.clone(), evidence: evidence.clone() };
                        match record {
                            Ok(record) => records.push((own, record)),
                            Err(not) => self.report.not_marked(&not),
                        }
                    }
                }
                Err(error) if is_for_all(&error) => return Err(failed(&error)),
                Err(error) => {
                    targets.iter().for_each(|t| self.report.not_marked(&t.not_marked(error.to_string())));
                }
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        let list = UndoList {
            file: self.options.undo_list.clone(),
            state_dir: self.config.state_dir.clone(),
            roots: self.roots.iter().map(|root| root.path.clone()).collect(),
            alyx: self.config.alyx.url.to_string(),
            records: records.iter().map(|(_, record)| record.clone()).collect(),
        };
        let written = tokio::task::spawn_blocking(move || list.write(Timestamp::now())).await;
        let undo = match written {
            Ok(Ok(undo)) => undo,
            Ok(Err(failure)) => return Err(failure),
            Err(error) => return Err(Failure::new(Exit::Io, error)),
        };
        let mut left = Vec::new();
        let ended = self.mark_each(client, &records, shutdown, (&undo, totals, &mut left)).await;
        let (file, any) = (undo.clone(), left.len() < records.len());
        let struck = tokio::task::spawn_blocking(move || strike(&file, &left)).await;
        struck.unwrap_or_else(|error| Err(Failure::new(Exit::Io, error)))?;
        if any {
            self.report.undo(&undo);
        }
        ended
    }

    /// Marks one record after the other. `left`: those that were certainly not changed.
    async fn mark_each(
        &self,
        client: &RegistrationClient,
        records: &[(Ready, MarkedRecord)],
        shutdown: &CancellationToken,
        (undo, totals, left): (&Path, &mut MarkTotals, &mut Vec<String>),
    ) -> Result<(), Failure> {
        for (n, (ready, record)) in records.iter().enumerate() {
            let others = |from: usize| records.iter().skip(from).map(|(_, record)| record.record.clone());
            if shutdown.is_cancelled() {
                left.extend(others(n));
                return Err(Failure::new(Exit::Interrupted, "stopped before all were marked; run it again"));
            }
            let why = match self.mark_one(client, ready, record).await {
                Ok(RecordChange::Done) => {
                    totals.marked += 1;
                    totals.not_marked = totals.not_marked.saturating_sub(1);
                    self.report.marked(record, undo);
                    continue;
                }
                Ok(RecordChange::Needless) => {
                    left.push(record.record.clone());
                    "its file record says so already".to_owned()
                }
                Ok(RecordChange::LeftAlone(why)) => {
                    left.push(record.record.clone());
                    why
                }
                Ok(RecordChange::Unconfirmed(why)) => why,
                Err(error) if is_for_all(&error) => {
                    left.extend(others(n + 1));
                    return Err(failed(&error));
                }
                Err(error) => error.to_string(),
            };
            self.report.not_marked(&ready.target.not_marked(why));
        }
        Ok(())
    }

    /// Looks at the disk again before it changes a record.
    async fn mark_one(
        &self,
        client: &RegistrationClient,
        ready: &Ready,
        record: &MarkedRecord,
    ) -> Result<RecordChange, Error> {
        let target = std::slice::from_ref(&ready.target);
        let seen = client.mark_evidence(target, &self.roots, self.hangs_after).await?;
        match seen.into_iter().next() {
            Some(Ok(evidence)) if evidence == ready.evidence => client.mark_record(record).await,
            Some(Err(why)) => Ok(RecordChange::LeftAlone(why)),
            _ => Ok(RecordChange::LeftAlone(
                "its folder or disk was changed meanwhile; run this again".to_owned(),
            )),
        }
    }
}
