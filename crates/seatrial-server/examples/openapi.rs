//! Prints the API's description: `cargo run -p seatrial-server --example openapi > docs/openapi.json`.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(seatrial_server::openapi::json().as_bytes())
}
