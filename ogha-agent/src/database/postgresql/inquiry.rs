//! What `doctor` asks beside an observation: who is let in here, and whether a rejoin would be let in at
//! the peers. Nothing is changed.

use std::path::PathBuf;

use super::{
    super::{conninfo::Conninfo, files},
    Postgresql,
    access::{self, Decides, Login, Rule},
    observe,
};

/// Who is let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The file.
    pub file: PathBuf,
    /// Its rules.
    pub rules: Vec<Rule>,
    /// Lines that the server cannot read, and why. It keeps the rules that it had.
    pub broken: Vec<(u32, String)>,
}

/// What a login at a peer shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// As which user.
    pub user: String,
    /// The peer's system identifier.
    pub system: u64,
    /// What the user lacks for `pg_rewind`, after the user as the subject.
    pub lacking: Option<String>,
}

impl Access {
    /// By the text of a file.
    #[must_use]
    pub fn parse(file: PathBuf, text: &str) -> Self {
        Self { file, rules: access::parse(text), broken: Vec::new() }
    }

    /// Which line decides about a login.
    #[must_use]
    pub fn decides(&self, login: Login<'_>) -> Decides {
        access::decides(&self.rules, login)
    }
}

const RULES: &str = "select line_number, type, pg_catalog.array_to_string(database, ','), \
    pg_catalog.array_to_string(user_name, ','), address, netmask, auth_method, error \
    from pg_catalog.pg_hba_file_rules order by line_number";

impl Postgresql {
    /// As which user a rejoin logs in at the peers.
    ///
    /// # Errors
    /// When `primary_conninfo` cannot be read.
    pub(in crate::database) async fn rejoins_as(&self) -> anyhow::Result<String> {
        let conninfo = Conninfo::parse(&self.setting("primary_conninfo").await?)?;
        Ok(conninfo.get("user").unwrap_or(&self.local.server.user).to_owned())
    }

    /// Who is let in: by the server's own reading, or by the file where it does not answer.
    ///
    /// # Errors
    /// When neither can be read.
    pub(in crate::database) async fn access(&self) -> anyhow::Result<Access> {
        let asked = self.order("select pg_catalog.current_setting('hba_file')").await;
        let told = asked.ok().as_deref().and_then(|rows| observe::cell(rows, 0).map(PathBuf::from));
        let file = match told {
            Some(file) => file,
            None => self.setting("hba_file").await?.into(),
        };
        if let Ok(rows) = self.order(RULES).await {
            let mut access = Access { file, ..Access::default() };
            for row in rows {
                let cell = |at: usize| row.get(at).cloned().flatten();
                let line = cell(0).and_then(|line| line.parse().ok()).unwrap_or(0);
                if let Some(error) = cell(7) {
                    access.broken.push((line, error));
                    continue;
                }
                let list =
                    |at| cell(at).unwrap_or_default().split(',').map(str::to_owned).collect();
                access.rules.push(Rule {
                    line,
                    kind: cell(1).unwrap_or_default(),
                    databases: list(2),
                    users: list(3),
                    address: cell(4),
                    mask: cell(5),
                    method: cell(6).unwrap_or_default(),
                });
            }
            return Ok(access);
        }
        let path = file.clone();
        let text = self.local.act(move || files::read(&path)).await?.unwrap_or_default();
        Ok(Access::parse(file, &String::from_utf8_lossy(&text)))
    }
}
