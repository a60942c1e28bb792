//! A post that Alyx does not make unique: searched for after a lost answer, and posted once more at most.

use std::time::Duration;

use crate::error::Error;
use crate::session::request_marks::{RECHECK_INTERVAL, RequestMark, maybe_done};

/// Posts a record. If the answer is lost, searches for the record for as long as the request may still arrive, and posts it
/// once more only if it is missing then. `at_most`: how long a request may take.
///
/// The server, or a proxy that has answered already, works on a request no longer than its client would wait for it. The
/// client may have sent the request again after a refusal, so the time runs from the moment when the answer was lost.
pub(super) async fn post_once<T>(
    what: &str,
    mut mark: RequestMark,
    at_most: Duration,
    post: impl AsyncFn() -> Result<T, alyx_client::Error>,
    find: impl AsyncFn() -> Result<Option<T>, alyx_client::Error>,
) -> Result<T, Error> {
    let mut last = None;
    for _ in 0..2 {
        mark = mark.sending().await?;
        let lost = match post().await {
            Err(error) if maybe_done(&error) => error,
            answer => {
                mark.answered();
                return Ok(answer?);
            }
        };
        // For other programs, too, the time runs from now.
        mark = mark.sending().await?;
        let mut left = at_most;
        loop {
            match find().await {
                Ok(Some(record)) => {
                    mark.answered();
                    return Ok(record);
                }
                Ok(None) if left.is_zero() => break,
                Ok(None) => {}
                // It may have been recorded, so it is not posted again.
                Err(_) => return Err(Error::Unsure { what: what.to_owned(), source: lost }),
            }
            if left == at_most {
                tracing::info!(
                    "waiting up to {} s: an earlier request may still record {what}",
                    at_most.as_secs()
                );
            }
            let wait = left.min(RECHECK_INTERVAL);
            tokio::time::sleep(wait).await;
            left -= wait;
        }
        last = Some(lost);
    }
    match last {
        Some(source) => Err(Error::Unsure { what: what.to_owned(), source }),
        None => Err(Error::Internal("nothing was posted".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const MINUTE: Duration = Duration::from_secs(60);

    fn lost() -> alyx_client::Error {
        alyx_client::Error::Unreachable {
            url: "http://x".into(),
            reason: "cut".into(),
            maybe_done: true,
            connected: true,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_whose_answer_was_lost_is_found_and_not_posted_again() {
        let posts = Cell::new(0);
        let post = async || {
            posts.set(posts.get() + 1);
            Err::<i32, _>(lost())
        };
        assert_eq!(
            post_once("x", RequestMark::default(), MINUTE, post, async || Ok(Some(7))).await.unwrap(),
            7
        );
        assert_eq!(posts.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_a_proxy_carries_out_after_its_answer_is_not_posted_again() {
        for seconds in [0, 4, 59, 60] {
            let (posts, sent) = (Cell::new(0), tokio::time::Instant::now());
            let post = async || {
                posts.set(posts.get() + 1);
                let (what, body) = ("POST /weighings".to_owned(), String::new());
                Err::<i32, _>(alyx_client::Error::Busy { what, status: 502, retry_after: None, body })
            };
            let find = async || Ok((sent.elapsed() >= Duration::from_secs(seconds)).then_some(7));
            let found = post_once("x", RequestMark::default(), MINUTE, post, find).await.unwrap();
            assert_eq!((found, posts.get()), (7, 1), "{seconds}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_request_is_given_time_before_it_is_posted_again() {
        let (posts, searches) = (Cell::new(0), Cell::new(0));
        let post = async || {
            posts.set(posts.get() + 1);
            Err::<i32, _>(lost())
        };
        let find = async || {
            searches.set(searches.get() + 1);
            Ok((searches.get() == 2).then_some(7))
        };
        assert_eq!(post_once("x", RequestMark::default(), MINUTE, post, find).await.unwrap(), 7);
        assert_eq!(posts.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_record_is_posted_once_more_and_only_once() {
        let posts = Cell::new(0);
        let post = async || {
            posts.set(posts.get() + 1);
            Err::<i32, _>(lost())
        };
        let error =
            post_once("x", RequestMark::default(), MINUTE, post, async || Ok(None)).await.unwrap_err();
        assert!(matches!(error, Error::Unsure { .. }));
        assert_eq!(posts.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_posted_again_if_the_search_fails() {
        let posts = Cell::new(0);
        let post = async || {
            posts.set(posts.get() + 1);
            Err::<i32, _>(lost())
        };
        let error =
            post_once("x", RequestMark::default(), MINUTE, post, async || Err(lost())).await.unwrap_err();
        assert!(matches!(error, Error::Unsure { .. }));
        assert_eq!(posts.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_final() {
        let refusal = async || {
            Err::<i32, _>(alyx_client::Error::Refused {
                what: "POST".into(),
                status: 400,
                detail: "no".into(),
            })
        };
        let find = async || panic!("searched");
        assert!(matches!(
            post_once("x", RequestMark::default(), MINUTE, refusal, find).await,
            Err(Error::Alyx(alyx_client::Error::Refused { .. }))
        ));
    }
}
