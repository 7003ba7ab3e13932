//! What an operator orders over the control socket, and the answer that it was accepted.

use serde::{Deserialize, Serialize};

/// Which instance an order is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// `instance.name`; `None`: the only one.
    #[serde(default)]
    pub instance: Option<String>,
}

/// To hand the role over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switchover {
    /// `instance.name`; `None`: the only one.
    #[serde(default)]
    pub instance: Option<String>,
    /// The node that is to serve; `None`: the best.
    #[serde(default)]
    pub to: Option<String>,
}

/// What came of reading the configuration again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The node.
    pub node: String,
    /// What is wrong with the file, one problem each; nothing was changed then.
    pub problems: Vec<String>,
    /// The keys that took effect.
    pub changed: Vec<String>,
    /// The keys that only a restart of the agent takes on.
    pub needs_restart: Vec<String>,
}

/// An order was accepted: what comes of it shows in `status` and in the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The node that carries it out.
    pub node: String,
    /// The instance that it is about.
    pub instance: String,
    /// Of a switchover: the node that is to serve.
    pub to: Option<String>,
    /// Of a forced failover: what it may lose.
    #[serde(default)]
    pub loses: Option<String>,
}
