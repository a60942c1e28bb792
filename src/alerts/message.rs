//! The message: its text, and the format that the receiver expects. Pure.
//!
//! Folder names and server messages may contain anything; they are never sent as markup.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::alerts::decision::{Alert, Event};
use crate::daemon::status::json::SessionStatusJson;
use crate::daemon::status::sentence::Sentence;
use crate::daemon::status::{GapStatus, SessionStatus, Status, host};
use crate::humanize::{elapsed, length};
use alyx_client::text::printable;

/// The maximum number of sessions, and of obstacles, in one message; the others are counted.
const MAX_ITEMS: usize = 15;
/// The length in characters at which a server message is cut.
const MAX_TEXT: usize = 300;

/// The format of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageFormat {
    /// `{"text": …}`, for Slack, Mattermost and compatible receivers.
    Slack,
    /// A card for a workflow of Microsoft Teams.
    Teams,
    /// JSON fields for a program.
    Json,
}

/// A message.
#[derive(Debug, Clone)]
pub(super) struct Message<'a> {
    alert: &'a Alert,
    host: String,
    /// The address of Alyx, if known.
    alyx: Option<&'a str>,
}

/// Text of unknown origin, without control and direction characters, and cut to a maximum length.
fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(MAX_TEXT).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    printable(&cut)
}

impl<'a> Message<'a> {
    pub(super) fn of(alert: &'a Alert, status: Option<&'a Status>) -> Self {
        let daemon = status.and_then(|status| status.daemon.as_ref());
        Self { alert, host: host(), alyx: daemon.map(|daemon| daemon.alyx.as_str()) }
    }

    /// The body of the request.
    pub(super) fn body(&self, format: MessageFormat) -> Value {
        let lines = self.lines();
        match format {
            MessageFormat::Slack => {
                // Slack's three special characters: unescaped, a name could notify the whole channel.
                let escaped =
                    lines.join("\n").replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                json!({"text": escaped, "mrkdwn": false})
            }
            MessageFormat::Teams => {
                // A text run is shown verbatim; a text block is parsed as Markdown.
                let line = |(index, text): (usize, &String)| {
                    let weight = if index == 0 { "bolder" } else { "default" };
                    let run = json!({"type": "TextRun", "text": text, "weight": weight});
                    json!({"type": "RichTextBlock", "inlines": [run]})
                };
                let body: Vec<Value> = lines.iter().enumerate().map(line).collect();
                json!({
                    "type": "message",
                    "attachments": [{
                        "contentType": "application/vnd.microsoft.card.adaptive",
                        "content": {
                            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                            "type": "AdaptiveCard",
                            "version": "1.4",
                            "body": body,
                        },
                    }],
                })
            }
            MessageFormat::Json => json!({
                "from": "alyx-registrar",
                "version": env!("CARGO_PKG_VERSION"),
                "host": self.host,
                "alyx": self.alyx,
                "at": self.alert.at,
                "text": lines.join("\n"),
                "events": self.alert.events.iter().map(event).collect::<Vec<_>>(),
            }),
        }
    }

    /// The message in words, the most important line first.
    fn lines(&self) -> Vec<String> {
        let now = self.alert.at;
        let mut lines = Vec::new();
        let alyx = self.alyx.map(|alyx| format!(" ({})", shown(alyx))).unwrap_or_default();
        for event in &self.alert.events {
            lines.push(match event {
                Event::Stuck(why) => Sentence::Stuck(why).text(&alyx, now),
                Event::Unstuck => "The daemon works again.".to_owned(),
                Event::LoginRefused(since) => Sentence::LoginRefused(*since).text(&alyx, now),
                Event::LoginAccepted => format!("Alyx{alyx} accepts the login again. All sessions continue."),
                Event::Away(since) => Sentence::Away(*since).text(&alyx, now),
                Event::Back(since, at) => format!(
                    "Alyx{alyx} is back after {}. All sessions continue.",
                    length(at.duration_since(*since))
                ),
                Event::NotLoadable(reason) => shown(&Sentence::NotLoadable(reason).text(&alyx, now)),
                Event::Obstacle(_)
                | Event::NeedsAttention(_)
                | Event::StaleFlag(_)
                | Event::Gap(_)
                | Event::CreatedTwice(_) => continue,
            });
        }
        let obstacles = self.alert.events.iter().filter_map(|event| match event {
            Event::Obstacle(obstacle) => Some(format!("• {}", shown(&obstacle.text))),
            _ => None,
        });
        list(&mut lines, obstacles.collect(), Sentence::Obstacles, now);
        let people = self.alert.events.iter().filter_map(|event| match event {
            Event::NeedsAttention(session) => Some(self.line(session)),
            _ => None,
        });
        list(&mut lines, people.collect(), Sentence::NeedAttention, now);
        let stale = self.alert.events.iter().filter_map(|event| match event {
            Event::StaleFlag(session) => Some(self.line(session)),
            _ => None,
        });
        list(&mut lines, stale.collect(), Sentence::StaleFlags, now);
        let found = |gap: &GapStatus| format!("• {}: {}", shown(&gap.session), shown(&gap.text));
        let twice = self.alert.events.iter().filter_map(|event| match event {
            Event::CreatedTwice(session) => Some(found(session)),
            _ => None,
        });
        list(&mut lines, twice.collect(), Sentence::CreatedTwice, now);
        let gaps = self.alert.events.iter().filter_map(|event| match event {
            Event::Gap(gap) => Some(found(gap)),
            _ => None,
        });
        list(&mut lines, gaps.collect(), Sentence::Gaps, now);
        if let Some(first) = lines.first_mut() {
            *first = format!("{}: {first}", shown(&self.host));
        }
        lines
    }

    /// The line of one session.
    fn line(&self, session: &SessionStatus) -> String {
        let mut line = format!("• {}", shown(&session.session));
        if session.stale {
            line += &format!(", flagged {} ago", elapsed(session.known_at(), self.alert.at));
        }
        if let Some(error) = &session.error {
            line += &format!(": {}", shown(error));
        }
        if let Some(step) = session.advice() {
            line += &format!(". What to do: {}", shown(&step.replace('`', "")));
        }
        if let Some(command) = session.retry() {
            line += &format!(". To try at once: {}", shown(&command));
        }
        line
    }
}

/// Adds a list with its title, unless it is empty.
fn list(lines: &mut Vec<String>, items: Vec<String>, title: fn(usize) -> Sentence<'static>, now: Timestamp) {
    if items.is_empty() {
        return;
    }
    let all = items.len();
    let title = title(all).text("", now);
    lines.push(format!("{}:", title.trim_end_matches('.')));
    lines.extend(items.into_iter().take(MAX_ITEMS));
    if all > MAX_ITEMS {
        lines.push(format!("• and {} more; alyx-registrar status --json shows all", all - MAX_ITEMS));
    }
}

/// An event as JSON.
fn event(event: &Event) -> Value {
    match event {
        Event::Stuck(why) => json!({"event": "stuck", "error": why}),
        Event::Unstuck => json!({"event": "unstuck"}),
        Event::LoginRefused(since) => json!({"event": "login_refused", "since": since}),
        Event::LoginAccepted => json!({"event": "login_accepted"}),
        Event::Away(since) => json!({"event": "alyx_away", "since": since}),
        Event::Back(since, until) => json!({"event": "alyx_back", "since": since, "until": until}),
        Event::NeedsAttention(session) => {
            json!({"event": "needs_attention", "session": SessionStatusJson::from(session)})
        }
        Event::StaleFlag(session) => {
            json!({"event": "old_flag", "session": SessionStatusJson::from(session)})
        }
        Event::Gap(gap) => json!({"event": "gaps", "gap": gap}),
        Event::CreatedTwice(session) => json!({"event": "created_twice", "session": session}),
        Event::NotLoadable(reason) => json!({"event": "not_loadable", "not_loadable": reason}),
        Event::Obstacle(obstacle) => json!({"event": "obstacle", "obstacle": obstacle}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::status::{ObstacleStatus, SessionState};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn session(name: &str) -> SessionStatus {
        SessionStatus {
            session: name.into(),
            flag: format!("/data/{name}/create_me.flag"),
            state: SessionState::NeedsAttention,
            since: at(0),
            failures: 1,
            next: None,
            error: Some("Alyx does not know subject \"KS014\"".into()),
            kind: None,
            next_step: Some("create it on Alyx".into()),
            progress: None,
            flagged_at: None,
            stale: false,
        }
    }

    fn body(format: MessageFormat, events: Vec<Event>) -> Value {
        let alert = Alert { at: at(3600), events };
        Message { alert: &alert, host: "rig-3".into(), alyx: Some("https://alyx.example.org") }.body(format)
    }

    #[test]
    fn slack_gets_a_text_with_the_most_important_line_first() {
        let stale =
            SessionStatus { stale: true, flagged_at: Some(at(-90_000)), ..session("ZM/2024-05-01/001") };
        let events = vec![
            Event::Away(at(0)),
            Event::NeedsAttention(session("KS014/2024-05-01/001")),
            Event::StaleFlag(stale),
        ];
        let text = body(MessageFormat::Slack, events)["text"].as_str().unwrap().to_owned();
        let wanted = "rig-3: Alyx (https://alyx.example.org) has not answered for 1 h 0 min. All sessions wait; nothing is lost.\n\
             1 session needs attention:\n\
             • KS014/2024-05-01/001: Alyx does not know subject \"KS014\". What to do: create it on Alyx. To try at once: alyx-registrar retry KS014/2024-05-01/001\n\
             One flag has waited for longer than watch.warn_after:\n\
             • ZM/2024-05-01/001, flagged 1 d 2 h ago: Alyx does not know subject \"KS014\". What to do: create it on Alyx. To try at once: alyx-registrar retry ZM/2024-05-01/001";
        assert_eq!(text, wanted);
    }

    #[test]
    fn obstacles_are_listed_separately() {
        let text = "the data root \"/data\" is missing: mount the disk".to_owned();
        let obstacle = ObstacleStatus { root: "/data".into(), since: Some(at(0)), text };
        let events = vec![Event::Obstacle(obstacle), Event::NeedsAttention(session("KS014/2024-05-01/001"))];
        let text = body(MessageFormat::Slack, events.clone())["text"].as_str().unwrap().to_owned();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "rig-3: 1 problem on disk keeps flags from being found or removed:");
        assert_eq!(lines[1], "• the data root \"/data\" is missing: mount the disk");
        assert_eq!(lines[2], "1 session needs attention:");
        let json = body(MessageFormat::Json, events);
        assert_eq!(
            (&json["events"][0]["event"], &json["events"][0]["obstacle"]["root"]),
            (&"obstacle".into(), &"/data".into())
        );
    }

    #[test]
    fn a_folder_name_can_neither_notify_the_channel_nor_hide_a_link() {
        const HOSTILE: &str = "<!channel> & [click](http://evil)\u{202e}\n*x*";
        let mut bad = session(HOSTILE);
        bad.error = Some(HOSTILE.into());
        let events = vec![Event::NeedsAttention(bad)];
        let slack = body(MessageFormat::Slack, events.clone())["text"].as_str().unwrap().to_owned();
        assert!(slack.contains("&lt;!channel&gt; &amp;") && !slack.contains('<'), "{slack}");
        assert!(!slack.contains('\u{202e}') && slack.lines().count() == 2, "{slack}");
        let teams = body(MessageFormat::Teams, events);
        let card = &teams["attachments"][0]["content"]["body"];
        assert!(card.as_array().unwrap().iter().all(|block| block["type"] == "RichTextBlock"), "{card}");
        assert!(card[1]["inlines"][0]["text"].as_str().unwrap().contains("[click](http://evil)"));
        assert_eq!(
            (card[0]["inlines"][0]["weight"].as_str(), teams["type"].as_str()),
            (Some("bolder"), Some("message"))
        );
    }

    #[test]
    fn a_program_gets_everything_in_fields() {
        let json =
            body(MessageFormat::Json, vec![Event::Back(at(0), at(600)), Event::NeedsAttention(session("a"))]);
        assert_eq!((json["host"].as_str(), json["from"].as_str()), (Some("rig-3"), Some("alyx-registrar")));
        assert!(
            json["text"]
                .as_str()
                .unwrap()
                .starts_with("rig-3: Alyx (https://alyx.example.org) is back after 10 min")
        );
        assert_eq!(json["events"][0]["event"], "alyx_back");
        assert_eq!(json["events"][1]["session"]["session"], "a");
        assert_eq!(json["events"][1]["session"]["next_step"], "create it on Alyx");
    }

    #[test]
    fn a_message_about_a_thousand_sessions_is_bounded() {
        let mut long = session("a");
        long.error = Some("x".repeat(100_000));
        let events: Vec<Event> = (0..1000).map(|_| Event::NeedsAttention(long.clone())).collect();
        let text = body(MessageFormat::Slack, events)["text"].as_str().unwrap().to_owned();
        assert!(text.contains("1000 sessions need attention") && text.contains("and 985 more"), "{text}");
        assert!(text.len() < 10_000, "{}", text.len());
    }
}
