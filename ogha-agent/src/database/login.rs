//! The database's user: who it is, and the environment of its login shell.
//!
//! openGauss's tools work only in the environment that its installation put into the user's
//! profile (`GAUSSHOME`, `GPHOME`, `PATH`, `LD_LIBRARY_PATH`). It is read once, when the agent
//! starts, for profiles can be slow and a failover is no time to find out.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use nix::unistd::{Uid, geteuid};
use tracing::warn;

use super::{
    account::Account,
    process::{Tool, last_words},
};
use crate::guest::{Owner, trusted};

/// How long the user's profile may take.
const PROFILE_DEADLINE: Duration = Duration::from_secs(10);
/// What is printed before the environment, so that a talkative profile does no harm.
const MARK: &[u8] = b"\0ogha-environment\0";
/// Prints the mark and the environment, each variable ended by a zero byte.
const SCRIPT: &str = r"printf '\000ogha-environment\000'; env -0";
/// Where tools are looked for if the profile says nothing.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The database's user and its environment.
#[derive(Debug)]
pub struct Login {
    account: Account,
    /// Whether the agent is root and so becomes the user; else it runs everything as itself.
    switch: bool,
    owner: Option<Owner>,
    environment: Vec<(OsString, OsString)>,
}

impl Login {
    /// Looks the user up and reads its environment. A profile that fails or hangs costs a warning
    /// and leaves the bare minimum.
    ///
    /// # Errors
    /// When there is no such user.
    pub async fn open(user: &str) -> anyhow::Result<Self> {
        let account = Account::find(user)?;
        let me = geteuid();
        let switch = me.is_root() && account.uid != me;
        if !me.is_root() && account.uid != me {
            warn!(
                user,
                "the agent is neither root nor the database's user: its tools may refuse to work"
            );
        }
        let owner = switch.then(|| account.owner());
        let mut login = Self { environment: minimum(&account), account, switch, owner };
        match login.profile().await {
            Ok(environment) => login.environment = environment,
            Err(error) => warn!(user, "the login environment could not be read: {error:#}"),
        }
        Ok(login)
    }

    /// Whom to connect as over the Unix socket; `None` to stay who the agent is.
    #[must_use]
    pub fn connect_as(&self) -> Option<Uid> {
        self.switch.then_some(self.account.uid)
    }

    /// Whose files to touch; `None` to stay who the agent is.
    #[must_use]
    pub fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }

    /// The user's number.
    #[must_use]
    pub fn uid(&self) -> Uid {
        self.account.uid
    }

    /// A variable of the environment, if it is set and not empty.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        let (_, value) = self.environment.iter().find(|(key, _)| key == name)?;
        (!value.is_empty()).then_some(value.as_os_str())
    }

    /// The directories of the user's `PATH`.
    pub fn path(&self) -> impl Iterator<Item = PathBuf> + use<> {
        let path = self.variable("PATH").unwrap_or(OsStr::new(PATH)).to_owned();
        std::env::split_paths(&path).collect::<Vec<_>>().into_iter()
    }

    /// A tool that will run as this user in this environment.
    #[must_use]
    pub fn tool<'a>(&'a self, program: &'a Path, deadline: Duration) -> Tool<'a> {
        Tool {
            program,
            arguments: Vec::new(),
            environment: &self.environment,
            account: self.switch.then_some(&self.account),
            secrets: Vec::new(),
            listener: None,
            deadline,
        }
    }

    async fn profile(&self) -> anyhow::Result<Vec<(OsString, OsString)>> {
        // `su` also applies what PAM says of the user's session. Only root needs no password.
        let su = ["/bin/su", "/usr/bin/su"]
            .map(Path::new)
            .into_iter()
            .find(|su| trusted::only_roots(su).is_ok());
        let tool = match su.filter(|_| self.switch) {
            Some(su) => Tool { account: None, ..self.tool(su, PROFILE_DEADLINE) }
                .arg("-")
                .arg(&self.account.name)
                .arg("-c"),
            None => self.tool(&self.account.shell, PROFILE_DEADLINE).arg("-l").arg("-c"),
        };
        let outcome = tool.arg(SCRIPT).run().await?;
        parse(&outcome.stdout).with_context(|| {
            format!(
                "the login shell ended with {}: {}",
                outcome.status,
                last_words(&outcome.text())
            )
        })
    }
}

fn minimum(account: &Account) -> Vec<(OsString, OsString)> {
    let variables = [
        ("HOME", account.home.as_os_str()),
        ("USER", OsStr::new(&account.name)),
        ("LOGNAME", OsStr::new(&account.name)),
        ("SHELL", account.shell.as_os_str()),
        ("PATH", OsStr::new(PATH)),
    ];
    variables.map(|(key, value)| (key.into(), value.to_owned())).into()
}

/// What stands behind the mark. `None` without the mark, or with nothing behind it.
fn parse(output: &[u8]) -> Option<Vec<(OsString, OsString)>> {
    let start = output.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let variables: Vec<_> = output[start..].split(|byte| *byte == 0).filter_map(variable).collect();
    (!variables.is_empty()).then_some(variables)
}

fn variable(text: &[u8]) -> Option<(OsString, OsString)> {
    let equals = text.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
    let owned = |bytes: &[u8]| OsString::from_vec(bytes.to_owned());
    // A shell sets `_` for each command; it is nobody's setting.
    let (key, value) = (&text[..equals], &text[equals + 1..]);
    (OsStr::from_bytes(key) != "_").then(|| (owned(key), owned(value)))
}

#[cfg(test)]
mod tests {
    use nix::unistd::User;

    use super::*;

    #[test]
    fn a_talkative_profile_does_no_harm() {
        let output = b"Welcome!\nA=wrong\n\0ogha-environment\0A=1\0B=two\nlines\0_=/bin/env\0=x\0";
        let expected: Vec<(OsString, OsString)> =
            vec![("A".into(), "1".into()), ("B".into(), "two\nlines".into())];
        assert_eq!(parse(output), Some(expected));
    }

    #[test]
    fn an_output_without_environment_is_refused() {
        for output in [&b""[..], b"A=1\0", b"\0ogha-environment\0", b"\0ogha-environment\0\0"] {
            assert_eq!(parse(output), None);
        }
    }

    #[tokio::test]
    async fn the_own_user_has_a_path() {
        let me = User::from_uid(geteuid()).unwrap().unwrap();
        let login = Login::open(&me.name).await.unwrap();
        assert!(login.path().count() > 0);
        assert_eq!(login.connect_as(), None);
        let tool = login.tool(Path::new("/bin/sh"), Duration::from_secs(20));
        let outcome = tool.arg("-c").arg("echo $HOME").run().await.unwrap();
        assert_eq!(outcome.text().trim(), login.variable("HOME").unwrap());
    }

    #[tokio::test]
    async fn another_user_is_taken_on_with_its_groups() {
        assert!(geteuid().is_root(), "this test needs root, to become another user");
        let login = Login::open("nobody").await.unwrap();
        let tool = login.tool(Path::new("/bin/sh"), Duration::from_secs(20));
        let outcome = tool.arg("-c").arg("id -un; id -Gn").run().await.unwrap();
        assert_eq!(outcome.text(), "nobody\nnogroup\n");
    }

    #[tokio::test]
    async fn a_missing_user_is_named() {
        let error = Login::open("no-such-user").await.unwrap_err().to_string();
        assert!(error.contains("there is no user \"no-such-user\""), "{error}");
    }
}
