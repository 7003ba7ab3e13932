//! `[instance.database]`

use super::{
    reader::{Read, Reader},
    types::{Database, Server},
    value,
};

#[derive(Clone, Copy, PartialEq)]
enum DatabaseWord {
    Opengauss,
    Postgresql,
    Script,
    None,
}

const KINDS: [(&str, DatabaseWord); 4] = [
    ("opengauss", DatabaseWord::Opengauss),
    ("postgresql", DatabaseWord::Postgresql),
    ("none", DatabaseWord::None),
    ("script", DatabaseWord::Script),
];

impl Database {
    /// The word that stands for it in the file and in `status`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::None { .. } => "none",
            Self::Postgresql(_) => "postgresql",
            Self::Opengauss(_) => "opengauss",
        }
    }

    /// The TCP port that clients connect to.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::None { port } => *port,
            Self::Postgresql(server) | Self::Opengauss(server) => Some(server.port),
        }
    }

    /// What drives the server; `None` where there is no database.
    #[must_use]
    pub const fn server(&self) -> Option<&Server> {
        match self {
            Self::None { .. } => None,
            Self::Postgresql(server) | Self::Opengauss(server) => Some(server),
        }
    }
}

pub(super) fn read(instance: &Reader<'_>) -> Read<Database> {
    if !instance.has("database") {
        let what = "is missing; add the table [instance.database] with kind = \"opengauss\", \
                    \"postgresql\", or \"none\" for an address without a database";
        instance.problem("database", what);
        return None;
    }
    let table = instance.table("database")?;
    let kind = table.required("kind", "\"opengauss\"", |value| value::word(value, &KINDS));
    table.finish();
    match kind? {
        DatabaseWord::None => without(&table),
        DatabaseWord::Opengauss => opengauss(&table),
        DatabaseWord::Postgresql => server(&table, 5432).map(Database::Postgresql),
        DatabaseWord::Script => {
            let what = "\"script\" is not supported yet; use \"opengauss\", \"postgresql\" or \
                        \"none\"";
            table.problem("kind", what);
            None
        }
    }
}

fn opengauss(table: &Reader<'_>) -> Read<Database> {
    if table.has("unit") {
        let what = "means nothing with kind = \"opengauss\": ogha starts the server by gs_ctl, which \
                    gives it its role (-M); remove it, and keep other services from starting it";
        table.problem("unit", what);
    }
    server(table, 26000).map(Database::Opengauss)
}

fn server(table: &Reader<'_>, default_port: u16) -> Read<Server> {
    let port = table.or("port", default_port, value::port);
    let data_dir = table.required("data_dir", "\"/gauss/data/db1\"", value::path);
    let user = table.required("user", "\"omm\"", value::user);
    let bin_dir = table.maybe("bin_dir", value::path);
    let socket_dir = table.maybe("socket_dir", value::path);
    let dbname = table.or("dbname", "postgres".to_owned(), value::dbname);
    let unit = table.maybe("unit", value::unit);
    Some(Server {
        port: port?,
        data_dir: data_dir?,
        user: user?,
        bin_dir: bin_dir?,
        socket_dir: socket_dir?,
        dbname: dbname?,
        unit: unit?,
    })
}

fn without(table: &Reader<'_>) -> Read<Database> {
    for key in ["data_dir", "user", "bin_dir", "socket_dir", "dbname", "unit"] {
        if table.has(key) {
            table.problem(key, "means nothing with kind = \"none\"; remove it");
        }
    }
    Some(Database::None { port: table.maybe("port", value::port)? })
}
