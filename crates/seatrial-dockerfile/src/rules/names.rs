//! ST002 and ST014: names that belong to the builder or to us.

use seatrial_core::finding::Level;

use super::{
    Progress, Site,
    catalogue::{ST002, ST014},
    sink::{Sink, quoted},
};
use crate::ast::Keyword;

/// The proxy variables that Docker predefines, and the one more that programs know; builders and
/// programs take them in upper and lower case.
const PROXIES: [&str; 4] = ["http_proxy", "https_proxy", "ftp_proxy", "all_proxy"];

/// The length of the shortest name that is looked for: `seatrial`, `no_proxy`.
const SHORTEST: usize = 8;

pub(super) fn judge(site: Site<'_>, progress: &Progress, sink: &mut Sink<'_>) {
    let keyword = site.instruction.keyword;
    for pair in site.instruction.pairs() {
        let written = pair.name.value.as_str();
        if written.len() < SHORTEST && !written.contains('$') {
            continue; // a hostile file has 200,000 of them
        }
        let name = progress.variables.expand_here(written, site.is_trigger).text;
        if keyword == Keyword::Label {
            if is_our_label(&name) {
                sink.report(&ST014, pair.name.span, || {
                    format!("LABEL sets {}, which is ours to set", quoted(&name))
                });
            }
            continue;
        }
        let keyword = keyword.as_str();
        if has_prefix(&name, "BUILDKIT_") {
            sink.report(&ST002, pair.name.span, || {
                format!("{keyword} {} steers the builder", quoted(&name))
            });
        }
        if PROXIES.iter().any(|proxy| name.eq_ignore_ascii_case(proxy)) {
            sink.report(&ST002, pair.name.span, || {
                format!("{keyword} {} sends downloads through another host", quoted(&name))
            });
        }
        if name.eq_ignore_ascii_case("no_proxy") {
            // It leads nowhere: to hosts that are asked directly there is no way here.
            sink.report_at(Level::Warn, &ST002, pair.name.span, ST002.remedy, || {
                format!(
                    "{keyword} {} keeps downloads from the way out that a build has",
                    quoted(&name)
                )
            });
        }
        if has_prefix(&name, "SEATRIAL_") || name.eq_ignore_ascii_case("SEATRIAL") {
            sink.report(&ST014, pair.name.span, || {
                format!("{keyword} sets {}, which is ours to set", quoted(&name))
            });
        }
    }
}

fn has_prefix(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// `io.seatrial`, `seatrial.…`, and the same under another top-level domain.
fn is_our_label(name: &str) -> bool {
    name.split('.')
        .take(2)
        .any(|part| part.eq_ignore_ascii_case("seatrial"))
}
