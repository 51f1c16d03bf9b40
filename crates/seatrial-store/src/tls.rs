//! What all encrypted connections share.

use std::path::Path;

use seatrial_core::BoxError;

/// Makes the whole process use the same cryptography, whoever connects first. Another choice that was made
/// before stands: both are as good.
pub(crate) fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The certificates of a file, as PEM. It is read once, when a process starts.
pub(crate) fn read_ca(path: &Path) -> Result<Vec<u8>, BoxError> {
    let pem = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if !pem.windows(27).any(|part| part == b"-----BEGIN CERTIFICATE-----") {
        return Err(format!("{} holds no certificate in PEM", path.display()).into());
    }
    Ok(pem)
}
