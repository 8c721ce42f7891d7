//! `cosygate config …`.

use std::process::ExitCode;

use clap::Subcommand;
use origin::accounts::{PasswordSettings, Passwords};
use origin::config::Settings;

/// Memory in KiB and passes that are worth comparing: OWASP's and those of RFC 9106, section 4.
const COSTS: [(u32, u32); 7] =
    [(12 * 1024, 3), (19 * 1024, 2), (32 * 1024, 2), (46 * 1024, 1), (64 * 1024, 2), (64 * 1024, 3), (128 * 1024, 2)];
/// How many hashes are timed for each.
const ROUNDS: usize = 11;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Validate the settings and print the effective ones, secrets masked.
    #[command(after_help = "Example: cosygate --config /etc/cosygate.toml config check")]
    Check,
    /// Measure what hashing a password costs on this machine, with the settings and with others.
    #[command(after_help = "Example: COSYGATE_PASSWORD_MEMORY_KIB=65536 cosygate config passwords")]
    Passwords,
}

pub(crate) fn run(settings: &Settings, command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        // Loading has validated them.
        Command::Check => check(settings)?,
        Command::Passwords => measure(&settings.passwords)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn check(settings: &Settings) -> anyhow::Result<()> {
    super::print(toml::to_string(&settings.effective())?.trim_end())?;
    if settings.database_url.is_none() {
        super::print(format!("# database: {}", settings.database_file().display()))?;
    }
    Ok(())
}

fn measure(set: &PasswordSettings) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    super::print("memory_kib\tpasses\tms\tlogins a second\tmemory at most")?;
    let others = COSTS.into_iter().filter(|cost| *cost != (set.memory_kib, set.passes));
    for (memory_kib, passes) in std::iter::once((set.memory_kib, set.passes)).chain(others) {
        let settings = PasswordSettings { memory_kib, passes, ..set.clone() };
        let ms =
            Passwords::new(&settings).and_then(|it| it.time(ROUNDS)).map_err(anyhow::Error::msg)?.as_secs_f64() * 1e3;
        let (a_second, mib) = (cores as f64 * 1e3 / ms, cores * memory_kib as usize / 1024);
        super::print(format!("{memory_kib}\t{passes}\t{ms:.1}\t{a_second:.0}\t{mib} MiB"))?;
    }
    Ok(())
}
