//! Programs that setup needs, from the distribution's packages.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::sh;

/// A program and the Debian package that brings it.
#[derive(Clone, Copy)]
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

pub(crate) const MMDEBSTRAP: Tool = tool("mmdebstrap", "mmdebstrap");
pub(crate) const PYTHON: Tool = tool("python3", "python3");
pub(crate) const REDIS: Tool = tool("redis-server", "redis-server");
pub(crate) const RABBITMQ: Tool = tool("rabbitmq-server", "rabbitmq-server");
pub(crate) const FAKETIME: Tool = tool("faketime", "faketime");
pub(crate) const TIME: Tool = tool("time", "time");
pub(crate) const WRK: Tool = tool("wrk", "wrk");
/// Judges our pages of metrics. Its package brings a server too, which is not started.
pub(crate) const PROMTOOL: Tool = tool("promtool", "prometheus");
/// Tests make certificates with it, and step down from root with the other.
pub(crate) const OPENSSL: Tool = tool("openssl", "openssl");
pub(crate) const SETPRIV: Tool = tool("setpriv", "util-linux");
pub(crate) const SETSID: Tool = tool("setsid", "util-linux");
/// Both for Engines of other Debian releases, which live in a root of their own.
pub(crate) const UNSHARE: Tool = tool("unshare", "util-linux");
pub(crate) const PIVOT_ROOT: Tool = tool("pivot_root", "util-linux");
pub(crate) const IP: Tool = tool("ip", "iproute2");
pub(crate) const IPTABLES: Tool = tool("iptables", "iptables");
/// `dockerd --userns-remap=default` makes its user with this.
pub(crate) const USERADD: Tool = tool("useradd", "passwd");
pub(crate) const NEWUIDMAP: Tool = tool("newuidmap", "uidmap");
pub(crate) const DOCKERD: Tool = tool("dockerd", "docker.io");
/// Part of `docker.io` up to Debian 12, a package of its own since.
pub(crate) const DOCKER: Tool = tool("docker", "docker-cli");

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// Makes sure that all of them are there: installs them as root on Debian and Ubuntu, else says
/// exactly what to install.
pub(crate) fn need(tools: &[Tool], why: &str) -> Result<()> {
    let missing = missing(tools);
    if missing.is_empty() {
        return Ok(());
    }
    let programs: Vec<&str> = missing.iter().map(|tool| tool.program).collect();
    let mut packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    // Where the daemon comes with the command, there is no package for the command alone.
    if packages.contains(&DOCKERD.package) {
        packages.retain(|package| *package != DOCKER.package);
    }
    if !can_install() {
        bail!(
            "{why} needs {}, which this machine lacks.\n\
             On Debian or Ubuntu: sudo apt-get install --no-install-recommends {}\n\
             Elsewhere: install the programs of these names, then run this again.",
            programs.join(", "),
            packages.join(" ")
        );
    }
    eprintln!("Installing {} ({why})", packages.join(", "));
    install(&packages)?;
    let still = self::missing(tools);
    match still.as_slice() {
        [] => Ok(()),
        [one] if one.package == DOCKER.package => install(&[DOCKER.package]),
        _ => bail!(
            "the packages {} were installed but {} is still missing",
            packages.join(", "),
            still[0].program
        ),
    }
}

/// Makes sure that Python's installer is there.
pub(crate) fn need_pip(why: &str) -> Result<()> {
    if sh::succeeds(sh::command("python3").args(["-m", "pip", "--version"])) {
        return Ok(());
    }
    if !can_install() {
        bail!("{why} needs pip: install the package python3-pip");
    }
    install(&["python3-pip"])
}

fn missing(tools: &[Tool]) -> Vec<Tool> {
    tools
        .iter()
        .copied()
        .filter(|tool| sh::find(tool.program).is_none())
        .collect()
}

/// Whether we are root and the system has apt.
pub(crate) fn can_install() -> bool {
    is_root() && sh::find("apt-get").is_some()
}

/// Whether we are root.
pub(crate) fn is_root() -> bool {
    sh::output(sh::command("id").arg("-u")).is_ok_and(|uid| uid.trim() == "0")
}

/// Installs packages without starting any service that they bring.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let _quiet = NoServices::begin()?;
    let attempt = || {
        sh::run(
            sh::command("apt-get")
                .args(["install", "--yes", "--no-install-recommends", "--quiet"])
                .args(["-o", "DPkg::Lock::Timeout=120"])
                .args(packages)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    // The lists are often absent or old; only then they are worth their minute.
    attempt().or_else(|_| {
        sh::run(sh::command("apt-get").args(["update", "--quiet"]))?;
        attempt()
    })
}

/// While it lives, `invoke-rc.d` starts nothing: a package must not bring up an Engine beside ours.
struct NoServices {
    ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn begin() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        write_program(Path::new(POLICY), "#!/bin/sh\nexit 101\n")?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}

fn write_program(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", path.display()))
}
