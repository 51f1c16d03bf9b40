//! `seatrial`: puts a Dockerfile that nobody trusts through its sea trials.

#![expect(clippy::print_stderr, reason = "a command line speaks on its streams")]

mod attack;
mod cli;
mod client;
mod command;
mod config;
mod context;
mod progress;
mod rego;
mod show;
mod telemetry;
mod verdict;
mod wiring;

use std::{io::IsTerminal as _, process::ExitCode};

use anyhow::Result;
use clap::{CommandFactory as _, Parser as _};
use tracing_subscriber::EnvFilter;

use crate::{
    cli::{Cli, Command, ConfigCommand, When},
    client::Failure,
    config::{Config, LogFormat},
};

/// Many small pieces cost less of the processor than with the C library's (docs/DEPENDENCIES.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code of a command line or a configuration that cannot be used.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // TLS of every client in this process. It fails only if somebody chose a provider before us.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match cli.color {
        When::Auto => {}
        When::Always => anstream::ColorChoice::Always.write_global(),
        When::Never => anstream::ColorChoice::Never.write_global(),
    }
    match start(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => match error.downcast_ref::<Failure>() {
            Some(failure) => {
                eprint!("{}", failure.explain());
                ExitCode::from(failure.exit_code())
            }
            None => {
                eprintln!("error: {error:#}");
                ExitCode::from(USAGE)
            }
        },
    }
}

fn start(cli: &Cli) -> Result<u8> {
    if let Command::RegoChild { millis, memory } = cli.command {
        // Before anything is read or started: it bounds itself first.
        return rego::child(millis, memory);
    }
    if let Command::Completions { shell } = &cli.command {
        clap_complete::generate(*shell, &mut Cli::command(), "seatrial", &mut std::io::stdout());
        return Ok(0);
    }
    let config = config::load(cli.config.as_deref())?;
    log(cli, &config)?;
    if let Some(code) = alone(cli, &config) {
        return code;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let code = runtime.block_on(dispatch(cli, &config));
    runtime.shutdown_background(); // a read of standard input may still block; nothing of ours is lost
    code
}

/// Commands that wait for nobody, without the threads that waiting takes: they are called once per file.
fn alone(cli: &Cli, config: &Config) -> Option<Result<u8>> {
    Some(match &cli.command {
        Command::Analyze(args) => command::analyze::run(cli, config, args),
        Command::Lsp(args) => command::lsp::run(config, args),
        Command::Parse(args) => command::parse::run(args),
        Command::Rules(args) => command::rules::run(args),
        Command::Keys(what) => command::keys::run(what),
        Command::Config(ConfigCommand::Show) => command::config::show(config),
        _ => return None,
    })
}

async fn dispatch(cli: &Cli, config: &Config) -> Result<u8> {
    match &cli.command {
        Command::Run(args) => command::run::run(cli, config, args).await,
        Command::Serve(args) => command::serve::serve(config, args).await,
        Command::Worker(args) => command::serve::worker(config, args).await,
        Command::Submit(args) => command::submit::run(cli, args).await,
        Command::Status(args) => command::status::run(cli, args).await,
        Command::Wait(args) => command::wait::run(cli, args).await,
        Command::Logs(args) => command::logs::run(cli, args).await,
        Command::Events(args) => command::events::run(cli, args).await,
        Command::Result(args) => command::result::run(cli, args).await,
        Command::Cancel(args) => command::cancel::run(cli, args).await,
        Command::List(args) => command::list::run(cli, args).await,
        Command::Workers(args) => command::workers::run(cli, args).await,
        Command::Top(args) => command::top::run(cli, args).await,
        Command::Policy(what) => command::policy::run(cli, config, what).await,
        Command::Db(what) => command::db::run(config, what).await,
        Command::Doctor(args) if args.attack => command::attack::run(cli, config, args).await,
        Command::Doctor(args) => command::doctor::run(config, &args.plain()?).await,
        // Over before anything waits: `alone`.
        Command::Analyze(_)
        | Command::Lsp(_)
        | Command::Parse(_)
        | Command::Rules(_)
        | Command::Keys(_)
        | Command::Config(_)
        | Command::Completions { .. }
        | Command::RegoChild { .. } => Ok(0),
    }
}

/// Our own log goes to standard error; guest text in it is a field, escaped by the formatter.
fn log(cli: &Cli, config: &Config) -> Result<()> {
    let serves = matches!(cli.command, Command::Serve(_) | Command::Worker(_));
    // The name of this crate begins those of the others, so it stands for all of ours.
    let level = match (cli.verbose, config.log.level.as_deref()) {
        (0, Some(level)) => level,
        (0, None) if !serves => "warn",
        (0, None) | (1, _) => "warn,seatrial=info",
        _ => "warn,seatrial=debug",
    };
    let filter = EnvFilter::try_new(level).map_err(|error| anyhow::anyhow!("log.level cannot be used: {error}"))?;
    // What it says stands in our error too, once and with what to do.
    let filter = filter.add_directive("rustls_platform_verifier=off".parse()?);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Text => lines
            .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
