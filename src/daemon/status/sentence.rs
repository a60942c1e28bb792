//! The notable facts of a status, worded once for the terminal, the page and the alerts.

use jiff::Timestamp;

use crate::daemon::status::{NotLoadableStatus, SessionState, SessionStatus, Status};
use crate::humanize::{capitalized, elapsed, until};

/// One notable fact of a status, worded once for the terminal, the page and the alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sentence<'a> {
    /// The queue makes no progress, for this reason.
    Stuck(&'a str),
    /// Alyx has refused the login since then.
    LoginRefused(Timestamp),
    /// N obstacles on disk.
    Obstacles(usize),
    /// N sessions need attention.
    NeedAttention(usize),
    /// N sessions were registered with gaps.
    Gaps(usize),
    /// N sessions were created twice.
    CreatedTwice(usize),
    /// N flags have waited for longer than `watch.warn_after`.
    StaleFlags(usize),
    /// Alyx has not answered since then.
    Away(Timestamp),
    /// The start did not follow a clean stop, so sessions are created from then on.
    CreationsWait(Timestamp),
    /// N verified files are not what Alyx holds.
    Differing(u64),
    /// The copies of N sessions in other repositories differ, or could not be looked at.
    Copies(u64),
    /// The disk of a repository cannot be looked at: its name, folder and reason.
    NoRepositoryDisk(&'a str),
    /// ONE does not load what is registered, for this reason.
    NotLoadable(&'a NotLoadableStatus),
    /// Two ways to compute an MD5 differed.
    Md5Differs(&'a str),
    /// The ledger cannot be used, for this reason.
    NoLedger(&'a str),
}

impl Sentence<'_> {
    /// Whether an operator has to act now. The others end by themselves, or delay no session.
    pub fn needs_attention(self) -> bool {
        !matches!(
            self,
            Self::Gaps(_) | Self::Away(_) | Self::CreationsWait(_) | Self::NotLoadable(_) | Self::NoLedger(_)
        )
    }

    /// In words. `alyx` is inserted after "Alyx", such as its address in brackets.
    pub fn text(self, alyx: &str, now: Timestamp) -> String {
        match self {
            Self::Stuck(why) => format!("The daemon is stuck: {why}. Look at its log, then restart it."),
            Self::LoginRefused(since) => format!(
                "Alyx{alyx} has refused the login for {}: correct the password or token. All sessions wait; nothing is \
                 lost.",
                elapsed(since, now)
            ),
            Self::Obstacles(1) => "1 problem on disk keeps flags from being found or removed.".to_owned(),
            Self::Obstacles(n) => format!("{n} problems on disk keep flags from being found or removed."),
            Self::NeedAttention(1) => "1 session needs attention.".to_owned(),
            Self::NeedAttention(n) => format!("{n} sessions need attention."),
            Self::Gaps(1) => "1 session is registered with gaps.".to_owned(),
            Self::Gaps(n) => format!("{n} sessions are registered with gaps."),
            Self::CreatedTwice(1) => "1 session was created twice.".to_owned(),
            Self::CreatedTwice(n) => format!("{n} sessions were created twice."),
            Self::StaleFlags(1) => "One flag has waited for longer than watch.warn_after.".to_owned(),
            Self::StaleFlags(n) => format!("{n} flags have waited for longer than watch.warn_after."),
            Self::Away(since) => {
                let away = elapsed(since, now);
                format!("Alyx{alyx} has not answered for {away}. All sessions wait; nothing is lost.")
            }
            Self::CreationsWait(from) => format!(
                "This is the first start, or the last run was not stopped cleanly. A request of the last run may still \
                 reach Alyx, so new sessions are created only {}. There is nothing to do.",
                match until(from, now) {
                    soon if soon == "now" => "from now on".to_owned(),
                    later => later,
                }
            ),
            Self::Differing(n) => format!(
                "{} of the verified files {} not what Alyx holds: alyx-registrar verify lists them.",
                n,
                if n == 1 { "is" } else { "are" }
            ),
            Self::Copies(1) => {
                "The copies of 1 session in other repositories differ or could not be compared: alyx-registrar follow lists them."
                    .to_owned()
            }
            Self::Copies(n) => format!(
                "The copies of {n} sessions in other repositories differ or could not be compared: alyx-registrar follow lists them."
            ),
            Self::NoRepositoryDisk(what) => format!("Copies cannot be looked for in {what}. Mount its disk."),
            Self::NotLoadable(why) => {
                format!("{}. What to do: {}.", capitalized(&why.text), why.what_to_do)
            }
            Self::Md5Differs(why) => format!("{}.", capitalized(why)),
            Self::NoLedger(why) => format!("The ledger is not in use: {why}."),
        }
    }
}

/// The notable facts of a status, the worst first; empty when all is well.
pub fn sentences(status: &Status) -> Vec<Sentence<'_>> {
    let daemon = status.daemon.as_ref();
    let number = |is_it: fn(&SessionStatus) -> bool| status.sessions.iter().filter(|s| is_it(s)).count();
    let some = |n: usize| (n > 0).then_some(n);
    let all = [
        daemon.and_then(|daemon| daemon.stuck.as_deref()).map(Sentence::Stuck),
        daemon.and_then(|daemon| daemon.login_refused_since).map(Sentence::LoginRefused),
        daemon.and_then(|daemon| daemon.md5.as_deref()).map(Sentence::Md5Differs),
        some(status.obstacles.len()).map(Sentence::Obstacles),
        some(number(|s| s.state == SessionState::NeedsAttention)).map(Sentence::NeedAttention),
        some(status.created_twice.len()).map(Sentence::CreatedTwice),
        some(number(|s| s.stale)).map(Sentence::StaleFlags),
        some(status.gaps.len()).map(Sentence::Gaps),
        daemon.and_then(|daemon| daemon.away_since).map(Sentence::Away),
        daemon.and_then(|daemon| daemon.creations_from).map(Sentence::CreationsWait),
    ];
    let differing = status.verification.map(|verification| verification.differing);
    let differing = differing.filter(|n| *n > 0).map(Sentence::Differing);
    let copies = status.copies.iter();
    let wrong = copies
        .clone()
        .map(|copies| copies.differing + copies.failed)
        .filter(|n| *n > 0)
        .map(Sentence::Copies);
    let unavailable =
        copies.flat_map(|copies| &copies.unavailable).map(|what| Sentence::NoRepositoryDisk(what));
    let ledger = daemon.and_then(|daemon| daemon.ledger.as_deref());
    let ledger = ledger.or(status.unreadable_ledger.as_deref()).map(Sentence::NoLedger);
    let not_loadable = status.not_loadable.iter().map(Sentence::NotLoadable);
    let later = differing.into_iter().chain(wrong).chain(unavailable).chain(not_loadable).chain(ledger);
    all.into_iter().flatten().chain(later).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::status::DaemonStatus;

    #[test]
    fn a_wrong_md5_needs_attention_and_is_worded_as_in_the_log() {
        let md5 = Some("two ways to compute the MD5 gave different results".to_owned());
        let status =
            Status { daemon: Some(DaemonStatus { md5, ..DaemonStatus::default() }), ..Status::default() };
        assert!(!status.is_well());
        let [sentence] = sentences(&status)[..] else { panic!("{:?}", sentences(&status)) };
        assert!(sentence.needs_attention());
        assert_eq!(
            sentence.text("", Timestamp::UNIX_EPOCH),
            "Two ways to compute the MD5 gave different results."
        );
    }
}
