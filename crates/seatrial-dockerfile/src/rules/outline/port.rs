//! ST514 to ST517: ports.

use crate::{
    gotext,
    rules::{
        Progress, Site,
        catalogue::{ST514, ST515, ST516, ST517},
        sink::{Sink, quoted, replace},
    },
};

/// The port of SSH.
const SSH: u32 = 22;
/// The last port there is.
const LAST: u32 = 65_535;

pub(super) fn judge(site: Site<'_>, progress: &Progress, sink: &mut Sink<'_>) {
    for word in site.instruction.words() {
        let expanded = progress.variables.expand_here(&word.value, site.is_trigger).text;
        for spec in expanded.split_whitespace() {
            let (ports, protocol) = match spec.split_once('/') {
                Some((ports, protocol)) => (ports, protocol),
                None => (spec, ""),
            };
            if ports.contains(':') {
                sink.report(&ST516, word.span, || {
                    format!("{} names more than a port of the container", quoted(spec))
                });
            }
            if protocol != gotext::lower(protocol) {
                sink.report_fixed(
                    &ST517,
                    word.span,
                    || format!("the protocol of {} has capitals", quoted(spec)),
                    || {
                        let lower = gotext::lower(spec);
                        (word.value == spec).then(|| replace("Write it in lower case", word.span, lower))
                    },
                );
            }
            let container = ports.rsplit(':').next().unwrap_or_default();
            let (first, last) = match container.split_once('-') {
                Some((first, last)) => (number(first), number(last)),
                None => (number(container), number(container)),
            };
            if first.is_some_and(|port| port > LAST) || last.is_some_and(|port| port > LAST) {
                sink.report(&ST515, word.span, || format!("{} lies beyond port 65535", quoted(spec)));
            }
            if let (Some(first), Some(last)) = (first, last)
                && first <= SSH
                && SSH <= last
            {
                sink.report(&ST514, word.span, || format!("{} is the port of SSH", quoted(spec)));
            }
        }
    }
}

/// A number, however large; nothing for a variable or text.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}
