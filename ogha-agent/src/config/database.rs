//! `[instance.database]`

use super::{
    reader::{Read, Reader},
    types::{Database, Server},
    value,
};

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Opengauss,
    Postgresql,
    Script,
    None,
}

const KINDS: [(&str, Kind); 4] = [
    ("opengauss", Kind::Opengauss),
    ("postgresql", Kind::Postgresql),
    ("none", Kind::None),
    ("script", Kind::Script),
];

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
        Kind::None => without(&table),
        Kind::Opengauss => server(&table, 26000).map(Database::Opengauss),
        Kind::Postgresql => server(&table, 5432).map(Database::Postgresql),
        Kind::Script => {
            let what = "\"script\" is not supported yet; use \"opengauss\", \"postgresql\" or \
                        \"none\"";
            table.problem("kind", what);
            None
        }
    }
}

fn server(table: &Reader<'_>, default_port: u16) -> Read<Server> {
    let port = table.or("port", default_port, value::port);
    let data_dir = table.required("data_dir", "\"/gauss/data/db1\"", value::path);
    let user = table.required("user", "\"omm\"", value::user);
    let bin_dir = table.maybe("bin_dir", value::path);
    let socket_dir = table.maybe("socket_dir", value::path);
    let dbname = table.or("dbname", "postgres".to_owned(), value::dbname);
    Some(Server {
        port: port?,
        data_dir: data_dir?,
        user: user?,
        bin_dir: bin_dir?,
        socket_dir: socket_dir?,
        dbname: dbname?,
    })
}

fn without(table: &Reader<'_>) -> Read<Database> {
    for key in ["data_dir", "user", "bin_dir", "socket_dir", "dbname"] {
        if table.has(key) {
            table.problem(key, "means nothing with kind = \"none\"; remove it");
        }
    }
    Some(Database::None { port: table.maybe("port", value::port)? })
}
