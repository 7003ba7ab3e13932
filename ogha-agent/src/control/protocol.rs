//! What travels over the control socket: one [`Request`] and one [`Response`], each a line.
//!
//! A request is a JSON string, `"status"`; one with arguments an object of one key,
//! `{"pause":{"instance":"VI_1"}}`.
//! A response is an object of one key: `{"status":{..}}`, `{"error":"why"}`.

use serde::{Deserialize, Serialize};

use super::{
    order::{About, Accepted, Reloaded, Switchover},
    view,
};

/// What an operator may ask. What changes something is accepted or refused at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// What every instance is doing now.
    Status,
    /// The failovers since the record began, the oldest first.
    History,
    /// Hand the role to another node.
    Switchover(Switchover),
    /// Take over here, though this node may not by itself.
    Force(About),
    /// No failover until [`Request::Resume`].
    Pause(About),
    /// Failovers again.
    Resume(About),
    /// Make the database here a standby of the primary.
    Rejoin(About),
    /// Read the configuration again.
    Reload,
}

/// The agent's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// To [`Request::Status`].
    Status(view::Status),
    /// To [`Request::History`].
    History(view::History),
    /// To [`Request::Reload`].
    Reloaded(Reloaded),
    /// To an order.
    Accepted(Accepted),
    /// The request was refused or failed: why, for people.
    Error(String),
}

impl Response {
    /// A refusal.
    #[must_use]
    pub fn error(text: impl Into<String>) -> Self {
        Self::Error(text.into())
    }

    /// The kind of answer, for messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::History(_) => "history",
            Self::Reloaded(_) => "reloaded",
            Self::Accepted(_) => "accepted",
            Self::Error(_) => "error",
        }
    }
}

/// A request of one line.
///
/// # Errors
/// Why it is none, for the client.
pub fn parse(line: &[u8]) -> Result<Request, String> {
    serde_json::from_slice(line).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => format!("this agent does not know that: {error}"),
        _ => format!("a request is one line of JSON: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_plain_words() {
        assert_eq!(parse(b"\"status\"\n"), Ok(Request::Status));
        assert_eq!(parse(b" \"history\" "), Ok(Request::History));
        assert_eq!(parse(b"{\"pause\":{}}"), Ok(Request::Pause(About::default())));
        let to = Switchover { instance: None, to: Some("db2".into()) };
        assert_eq!(parse(b"{\"switchover\":{\"to\":\"db2\"}}"), Ok(Request::Switchover(to)));
        assert_eq!(serde_json::to_string(&Request::Status).unwrap(), "\"status\"");
        assert_eq!(serde_json::to_string(&Response::error("no")).unwrap(), "{\"error\":\"no\"}");
    }

    #[test]
    fn what_is_not_known_is_said_to_be_so() {
        let said = parse(b"\"switch\"").unwrap_err();
        assert!(said.starts_with("this agent does not know that: unknown variant `switch`"));
        for garbage in [&b""[..], b"status", b"\xff\xfe", b"{", b"\"status\" \"status\""] {
            let said = parse(garbage).unwrap_err();
            assert!(said.starts_with("a request is one line of JSON: "), "{said}");
        }
        assert!(parse(b"{\"status\":1}").is_err());
        assert!(parse(b"null").is_err());
    }
}
