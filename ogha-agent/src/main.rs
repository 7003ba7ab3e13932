//! `ogha-agent`: see `ogha-agent --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ogha_agent::cli::main()
}
