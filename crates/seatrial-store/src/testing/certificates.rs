//! Certificates for a test, made by the `openssl` command.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A certificate authority of our own and a certificate for `localhost`, `mirror.test` and 127.0.0.1 that it signed.
pub struct Certificates {
    /// The authority's certificate, PEM.
    pub ca: PathBuf,
    /// The server's certificate, PEM.
    pub cert: PathBuf,
    /// The server's key, PEM.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them in a folder.
    ///
    /// # Errors
    /// `openssl` did not.
    pub fn make(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let made = Self {
            ca: folder.join("ca.pem"),
            cert: folder.join("cert.pem"),
            key: folder.join("key.pem"),
        };
        let (ca_key, request, extension) = (folder.join("ca.key"), folder.join("req.pem"), folder.join("san.cnf"));
        std::fs::write(
            &extension,
            "subjectAltName=DNS:localhost,DNS:mirror.test,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n",
        )?;
        let text = |path: &PathBuf| path.display().to_string();
        let fresh = [
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ];
        openssl(&[
            &fresh[..],
            &["-x509", "-days", "2", "-subj", "/CN=test authority"],
            &["-keyout", &text(&ca_key), "-out", &text(&made.ca)],
        ])?;
        openssl(&[
            &fresh[..],
            &["-subj", "/CN=localhost"],
            &["-keyout", &text(&made.key), "-out", &text(&request)],
        ])?;
        openssl(&[
            &["x509", "-req", "-days", "2", "-CAcreateserial"],
            &["-in", &text(&request), "-out", &text(&made.cert)],
            &["-CA", &text(&made.ca), "-CAkey", &text(&ca_key)],
            &["-extfile", &text(&extension)],
        ])?;
        Ok(made)
    }
}

fn openssl(arguments: &[&[&str]]) -> io::Result<()> {
    let output = Command::new("openssl")
        .args(arguments.concat())
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}
