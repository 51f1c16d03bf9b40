//! Vaults.

mod folder;
mod memory;
mod redis;
mod server;

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use seatrial_core::testing::vault::Ring;
use seatrial_store::vault::ring::KeyRing;

/// The rings of the contract.
fn ring(which: Ring) -> Arc<KeyRing> {
    let key = |id: &str, byte: u8| format!("{id}:{}\n", STANDARD.encode([byte, byte + 1].repeat(16)));
    let text = match which {
        Ring::Ours => key("ours", 1),
        Ring::Rotated => key("newer", 3) + &key("ours", 1),
        Ring::Retired => key("newer", 3),
        Ring::Other => key("other", 5),
        Ring::Impostor => key("ours", 7),
    };
    Arc::new(KeyRing::from_text(&text).unwrap())
}
