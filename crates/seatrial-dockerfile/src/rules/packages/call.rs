//! A command as a call of a package manager.

use crate::script::{Command, Script, ShellWord};

/// The commands of zypper that change packages: it asks before each, and each fills its cache.
pub(super) const ZYPPER_CHANGES: [&str; 11] = [
    "install",
    "in",
    "remove",
    "rm",
    "source-install",
    "si",
    "patch",
    "update",
    "up",
    "dist-upgrade",
    "dup",
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Manager {
    AptGet,
    Apt,
    Aptitude,
    Apk,
    Yum,
    Zypper,
    Dnf,
    Microdnf,
    Pip,
    Npm,
    Gem,
    Go,
    Yarn,
}

/// A call: what it is told to do, and with what.
pub(super) struct Call<'s> {
    pub(super) manager: Manager,
    /// Its place in the script.
    pub(super) index: usize,
    pub(super) command: &'s Command,
    /// `install`, `update`. The program itself where nothing follows it.
    pub(super) verb: &'s ShellWord,
    /// What follows the verb and is neither an option nor the value of one.
    pub(super) names: Vec<&'s ShellWord>,
}

impl Call<'_> {
    /// The verb is one of these.
    pub(super) fn does(&self, verbs: &[&str]) -> bool {
        verbs.contains(&self.verb.text.as_str())
    }

    /// Its program, for people.
    pub(super) fn program(&self) -> &'static str {
        match self.manager {
            Manager::AptGet => "apt-get",
            Manager::Apt => "apt",
            Manager::Aptitude => "aptitude",
            Manager::Apk => "apk",
            Manager::Yum => "yum",
            Manager::Zypper => "zypper",
            Manager::Dnf => "dnf",
            Manager::Microdnf => "microdnf",
            Manager::Pip => "pip",
            Manager::Npm => "npm",
            Manager::Gem => "gem",
            Manager::Go => "go",
            Manager::Yarn => "yarn",
        }
    }

    /// apt and its kin, which share lists and caches.
    pub(super) fn is_apt(&self) -> bool {
        matches!(self.manager, Manager::AptGet | Manager::Apt | Manager::Aptitude)
    }

    /// An option of one letter, alone or among others; what follows a letter that takes a value is the value.
    pub(super) fn letter(&self, letter: char) -> bool {
        let valued = valued(self.manager);
        options(self.command).any(|word| {
            word.strip_prefix('-').is_some_and(|letters| {
                let has_value = |letter: char| {
                    valued
                        .iter()
                        .any(|option| option.len() == 2 && option.ends_with(letter))
                };
                !letters.starts_with('-')
                    && letters
                        .chars()
                        .take_while(|own| !has_value(*own))
                        .any(|own| own == letter)
            })
        })
    }

    /// One of these options, `--name` or `--name=…`.
    pub(super) fn option(&self, names: &[&str]) -> bool {
        options(self.command).any(|word| names.contains(&word.split('=').next().unwrap_or_default()))
    }
}

/// The words that are options or their values.
fn options(command: &Command) -> impl Iterator<Item = &str> {
    let args = command.args().iter().map(|word| word.text.as_str());
    args.take_while(|word| *word != "--")
}

/// Every call of a package manager that the script makes, in order.
pub(super) fn calls(script: &Script) -> Vec<Call<'_>> {
    let commands = script.commands.iter().enumerate();
    commands
        .filter_map(|(index, command)| {
            let (manager, skipped) = manager(command)?;
            call(manager, index, command, skipped)
        })
        .collect()
}

/// The manager that a command calls, and how many words stand before its own.
fn manager(command: &Command) -> Option<(Manager, usize)> {
    let program = command.program();
    let manager = match program {
        "apt-get" => Manager::AptGet,
        "apt" => Manager::Apt,
        "aptitude" => Manager::Aptitude,
        "apk" => Manager::Apk,
        "yum" => Manager::Yum,
        "zypper" => Manager::Zypper,
        "dnf" | "dnf4" | "dnf5" => Manager::Dnf,
        "microdnf" => Manager::Microdnf,
        "npm" => Manager::Npm,
        "gem" => Manager::Gem,
        "go" => Manager::Go,
        "yarn" | "yarnpkg" => Manager::Yarn,
        _ if is_versioned(program, "pip") => Manager::Pip,
        _ if is_versioned(program, "python") || is_versioned(program, "pypy") => {
            let module = command.args().iter().position(|word| word.text == "-m")?;
            let name = command.args().get(module + 1)?;
            return is_versioned(&name.text, "pip").then_some((Manager::Pip, module + 2));
        }
        _ => return None,
    };
    Some((manager, 0))
}

/// `pip`, `pip3`, `pip3.12`.
fn is_versioned(program: &str, name: &str) -> bool {
    program
        .strip_prefix(name)
        .is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

fn call(manager: Manager, index: usize, command: &Command, skipped: usize) -> Option<Call<'_>> {
    let args = command.args().get(skipped..).unwrap_or_default();
    let mut operands = operands(args, manager);
    // An unknown word before the verb holds options.
    let verb = operands.iter().position(|word| word.sure);
    let names = match verb {
        Some(at) => operands.split_off(at + 1),
        None => Vec::new(),
    };
    let verb = match verb {
        Some(at) => *operands.get(at)?,
        None => command.words.first()?,
    };
    Some(Call {
        manager,
        index,
        command,
        verb,
        names,
    })
}

/// The words that are neither options nor their values.
fn operands(args: &[ShellWord], manager: Manager) -> Vec<&ShellWord> {
    let valued = valued(manager);
    // What follows is for the compiler, or for the program that is run.
    let end = match manager {
        Manager::Gem => args.iter().position(|word| word.text == "--").unwrap_or(args.len()),
        _ => args.len(),
    };
    let mut only_operands = false;
    let mut is_value = false;
    let words = args.get(..end).unwrap_or_default().iter();
    words
        .filter(|word| {
            if std::mem::take(&mut is_value) {
                return false;
            }
            if only_operands || !word.text.starts_with('-') {
                return true;
            }
            only_operands = word.text == "--";
            is_value = valued.contains(&word.text.as_str());
            false
        })
        .collect()
}

/// The options that have their value in the next word.
fn valued(manager: Manager) -> &'static [&'static str] {
    match manager {
        Manager::AptGet | Manager::Apt | Manager::Aptitude => &[
            "-o",
            "--option",
            "-c",
            "--config-file",
            "-t",
            "--target-release",
            "--default-release",
            "-a",
            "--host-architecture",
            "-P",
            "--build-profiles",
            "-S",
            "--snapshot",
        ],
        Manager::Apk => &[
            "-p",
            "--root",
            "-X",
            "--repository",
            "-t",
            "--virtual",
            "--arch",
            "--keys-dir",
            "--repositories-file",
            "--wait",
            "--cache-dir",
            "--cache-max-age",
            "--timeout",
            "--progress-fd",
        ],
        Manager::Yum | Manager::Dnf | Manager::Microdnf => &[
            "-c",
            "--config",
            "-d",
            "--debuglevel",
            "-e",
            "--errorlevel",
            "-x",
            "--exclude",
            "-R",
            "--randomwait",
            "--enablerepo",
            "--disablerepo",
            "--repo",
            "--repoid",
            "--installroot",
            "--releasever",
            "--setopt",
            "--enableplugin",
            "--disableplugin",
            "--disableexcludes",
            "--forcearch",
            "--comment",
            "--downloaddir",
            "--destdir",
            "--advisory",
        ],
        Manager::Zypper => &[
            "-c",
            "--config",
            "-R",
            "--root",
            "--installroot",
            "-D",
            "--reposd-dir",
            "-C",
            "--cache-dir",
            "--pkg-cache-dir",
            "--raw-cache-dir",
            "--solv-cache-dir",
            "--userdata",
            "-p",
            "--plus-repo",
            "--plus-content",
            "-r",
            "--repo",
            "--from",
            "-t",
            "--type",
        ],
        Manager::Pip => &[
            "-r",
            "--requirement",
            "-c",
            "--constraint",
            "-e",
            "--editable",
            "-i",
            "--index-url",
            "--pypi-url",
            "--extra-index-url",
            "-f",
            "--find-links",
            "-t",
            "--target",
            "--platform",
            "--python-version",
            "--implementation",
            "--abi",
            "--root",
            "--prefix",
            "--src",
            "-b",
            "--build",
            "--upgrade-strategy",
            "--progress-bar",
            "--root-user-action",
            "--trusted-host",
            "--proxy",
            "--timeout",
            "--retries",
            "--cert",
            "--client-cert",
            "--cache-dir",
            "--log",
            "--exists-action",
            "-C",
            "--config-settings",
            "--config-setting",
            "--global-option",
            "--install-option",
            "--build-option",
            "--no-binary",
            "--only-binary",
            "--report",
            "--python",
            "--use-feature",
            "--use-deprecated",
            "--group",
            "--keyring-provider",
        ],
        Manager::Npm => &[
            "--registry",
            "--loglevel",
            "-C",
            "--prefix",
            "--cache",
            "--userconfig",
            "--globalconfig",
            "--tag",
            "--omit",
            "--include",
            "--only",
            "-w",
            "--workspace",
            "--before",
            "--cpu",
            "--os",
            "--libc",
            "--install-strategy",
            "--fetch-retries",
            "--fetch-timeout",
            "--fetch-retry-mintimeout",
            "--fetch-retry-maxtimeout",
            "--network-timeout",
            "--maxsockets",
            "--proxy",
            "--https-proxy",
            "--script-shell",
        ],
        Manager::Gem => &[
            "-v",
            "--version",
            "-i",
            "--install-dir",
            "-n",
            "--bindir",
            "--build-root",
            "--document",
            "--platform",
            "-P",
            "--trust-policy",
            "-s",
            "--source",
            "-p",
            "--http-proxy",
            "-B",
            "--bulk-threshold",
            "-g",
            "--file",
            "--without",
            "--target-rbconfig",
            "--config-file",
            "--use-system-libraries",
        ],
        Manager::Go => &[
            "-C",
            "-p",
            "-o",
            "-asmflags",
            "-buildmode",
            "-buildvcs",
            "-compiler",
            "-coverpkg",
            "-exec",
            "-gccgoflags",
            "-gcflags",
            "-installsuffix",
            "-ldflags",
            "-mod",
            "-modfile",
            "-overlay",
            "-pgo",
            "-pkgdir",
            "-tags",
            "-toolexec",
        ],
        Manager::Yarn => &[
            "--cwd",
            "--registry",
            "--cache-folder",
            "--modules-folder",
            "--mutex",
            "--network-timeout",
        ],
    }
}
