//! What the benchmark of the service saw, as tables and a picture. Each figure is the median of the rounds.

use std::collections::BTreeMap;

use super::{
    median,
    picture::{self, Group},
    service::{Latencies, Seen, Side},
};

/// A closed loop of clients.
pub(crate) struct Load {
    pub(crate) side: Side,
    pub(crate) what: &'static str,
    pub(crate) clients: usize,
    pub(crate) seen: Seen,
}

/// Jobs from end to end.
pub(crate) struct Flow {
    pub(crate) per_s: f64,
    pub(crate) submitted_s: f64,
    pub(crate) cpu_us: f64,
    pub(crate) machine: f64,
}

/// What a job costs behind a queue of this length.
pub(crate) struct Depth {
    pub(crate) side: Side,
    pub(crate) depth: u64,
    pub(crate) submit: Seen,
    pub(crate) settled_per_s: f64,
    pub(crate) settle_cpu_us: f64,
    pub(crate) memory: BTreeMap<String, f64>,
}

/// Everything that was seen.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) loads: Vec<Load>,
    pub(crate) flows: Vec<(Side, Flow)>,
    pub(crate) latencies: Vec<(Side, Latencies)>,
    pub(crate) memory: Vec<(Side, BTreeMap<String, f64>)>,
    pub(crate) depths: Vec<Depth>,
}

const SIDES: [Side; 3] = [Side::Sqlite, Side::Redis, Side::Baseline];
/// Colours of the sides in the picture.
impl Report {
    fn sides(&self) -> Vec<Side> {
        let seen = |side: &Side| self.flows.iter().any(|(of, _)| of == side);
        SIDES.into_iter().filter(seen).collect()
    }

    fn load(&self, side: Side, what: &str, clients: usize, value: impl Fn(&Seen) -> f64) -> f64 {
        let of = |load: &&Load| load.side == side && load.what == what && load.clients == clients;
        median(self.loads.iter().filter(of).map(|load| value(&load.seen)).collect())
    }

    fn flow(&self, side: Side, value: impl Fn(&Flow) -> f64) -> f64 {
        median(
            self.flows
                .iter()
                .filter(|(of, _)| *of == side)
                .map(|(_, flow)| value(flow))
                .collect(),
        )
    }

    fn latency(&self, side: Side, value: impl Fn(&Latencies) -> Option<f64>) -> Option<f64> {
        let seen = self.latencies.iter().filter(|(of, _)| *of == side);
        let values: Vec<f64> = seen.filter_map(|(_, latencies)| value(latencies)).collect();
        (!values.is_empty()).then(|| median(values))
    }

    fn memory(&self, side: Side) -> Vec<(String, f64)> {
        let seen: Vec<&BTreeMap<String, f64>> = self
            .memory
            .iter()
            .filter(|(of, _)| *of == side)
            .map(|(_, memory)| memory)
            .collect();
        let names = seen.first().into_iter().flat_map(|memory| memory.keys());
        names
            .map(|name| {
                let values = seen.iter().filter_map(|memory| memory.get(name).copied()).collect();
                (name.clone(), median(values))
            })
            .collect()
    }

    fn whole_memory(&self, side: Side) -> f64 {
        self.memory(side).iter().map(|(_, mib)| mib).sum()
    }

    pub(crate) fn print(&self, rounds: usize, seconds: u64) {
        println!("\nMedians of {rounds} rounds, in turns. CPU: of all processes of the side, with its Redis.");
        for (what, title) in [("submit", "Submissions"), ("read", "Status reads")] {
            println!("\n### {title}: closed loop of clients for {seconds} s\n");
            println!("| side | clients | a second | p50, ms | p99, ms | errors | CPU each, us | machine busy |");
            println!("|---|---|---|---|---|---|---|---|");
            for side in self.sides() {
                for clients in [1, 16, 64] {
                    let of = |value: fn(&Seen) -> f64| self.load(side, what, clients, value);
                    println!(
                        "| {} | {clients} | {:.0} | {:.2} | {:.2} | {:.0} | {:.0} | {:.0} % |",
                        side.name(),
                        of(|seen| seen.per_s),
                        of(|seen| seen.p50_ms),
                        of(|seen| seen.p99_ms),
                        of(|seen| seen.errors),
                        of(|seen| seen.cpu_us),
                        of(|seen| seen.machine * 100.0)
                    );
                }
            }
        }
        println!("\n### Jobs that do nothing, end to end, and one at a time\n");
        println!(
            "| side | jobs a second | submitted after, s | CPU a job, us | machine busy | birth to start, ms | request to end seen, ms | p99 |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        for side in self.sides() {
            let shown = |value: Option<f64>| value.map_or_else(|| "not told".to_owned(), |ms| format!("{ms:.1}"));
            println!(
                "| {} | {:.0} | {:.1} | {:.0} | {:.0} % | {} | {} | {} |",
                side.name(),
                self.flow(side, |flow| flow.per_s),
                self.flow(side, |flow| flow.submitted_s),
                self.flow(side, |flow| flow.cpu_us),
                self.flow(side, |flow| flow.machine * 100.0),
                shown(self.latency(side, |seen| seen.start_p50_ms)),
                shown(self.latency(side, |seen| Some(seen.done_p50_ms))),
                shown(self.latency(side, |seen| Some(seen.done_p99_ms)))
            );
        }
        println!("\n### Memory after all that (proportional set size, MiB)\n");
        println!("| side | in all | of these |\n|---|---|---|");
        for side in self.sides() {
            println!(
                "| {} | {:.1} | {} |",
                side.name(),
                self.whole_memory(side),
                told(self.memory(side))
            );
        }
        if !self.depths.is_empty() {
            println!("\n### What a job costs behind a long queue\n");
            println!(
                "| side | waiting | submissions a second (16 clients) | p99, ms | CPU each, us | settled a second | CPU a job, us | memory, MiB |"
            );
            println!("|---|---|---|---|---|---|---|---|");
            for depth in &self.depths {
                println!(
                    "| {} | {} | {:.0} | {:.2} | {:.0} | {:.0} | {:.0} | {} |",
                    depth.side.name(),
                    depth.depth,
                    depth.submit.per_s,
                    depth.submit.p99_ms,
                    depth.submit.cpu_us,
                    depth.settled_per_s,
                    depth.settle_cpu_us,
                    told(depth.memory.clone())
                );
            }
        }
    }

    /// Bars for what people ask first.
    pub(crate) fn picture(&self) -> String {
        let sides = self.sides();
        let groups: [(&str, &dyn Fn(Side) -> f64); 4] = [
            ("submissions a second, 16 clients", &|side| {
                self.load(side, "submit", 16, |seen| seen.per_s)
            }),
            ("status reads a second, 16 clients", &|side| {
                self.load(side, "read", 16, |seen| seen.per_s)
            }),
            ("jobs a second, end to end", &|side| self.flow(side, |flow| flow.per_s)),
            ("memory of all processes, MiB (less is better)", &|side| {
                self.whole_memory(side)
            }),
        ];
        let groups = groups.map(|(title, value)| Group {
            title: title.to_owned(),
            sides: sides.iter().map(|side| (side.name(), value(*side))).collect(),
        });
        picture::bars(&groups)
    }
}

fn told(memory: impl IntoIterator<Item = (String, f64)>) -> String {
    let parts: Vec<String> = memory
        .into_iter()
        .map(|(name, mib)| format!("{name} {mib:.1}"))
        .collect();
    parts.join(", ")
}
