use super::view;
use serde::{Deserialize, Serialize};
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    Status,
    History,
}
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Response {
    Status(view::Status),
    History(view::History),
    Error(String),
}
impl Response {
    pub fn error(text: impl Into<String>) -> Self {
        Self::Error(text.into())
    }
}
