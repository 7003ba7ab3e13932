//! temporary
use ogha_agent::{config::Config, control::protocol::*};
use std::io::{BufRead, Write};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    match a[1].as_str() {
        "run" => {
            tracing_subscriber::fmt().with_writer(std::io::stderr).init();
            let c = Config::load(std::path::Path::new(&a[3])).unwrap_or_else(|e| {
                eprintln!("{e}");
                std::process::exit(2)
            });
            if let Err(e) = ogha_agent::run::run(&c) {
                eprintln!("{e:#}");
                std::process::exit(2)
            }
        }
        what => {
            let sock = a
                .iter()
                .position(|x| x == "--socket")
                .map_or("/run/ogha/agent.sock", |i| &a[i + 1]);
            let mut s = std::os::unix::net::UnixStream::connect(sock).unwrap_or_else(|e| {
                eprintln!("{e}");
                std::process::exit(1)
            });
            writeln!(s, "\"{what}\"").unwrap();
            let mut l = String::new();
            std::io::BufReader::new(s).read_line(&mut l).unwrap();
            match serde_json::from_str(&l).unwrap() {
                Response::Status(v) => println!("{}", serde_json::to_string(&v).unwrap()),
                Response::History(v) => println!("{}", serde_json::to_string(&v).unwrap()),
                Response::Error(e) => {
                    eprintln!("{e}");
                    std::process::exit(1)
                }
            }
        }
    }
}
