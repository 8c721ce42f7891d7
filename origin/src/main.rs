//! The program `cosygate`: the server and the operator's commands.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 wrong usage.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cosygate: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(cli::run(arguments)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cosygate: {error:#}");
            ExitCode::FAILURE
        }
    }
}
