use seatrial_core::image::ImageConfig;
use seatrial_dockerfile::{
    lower::{self, LoweredBase},
    parse,
};
use std::{collections::BTreeMap, fs};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    // dockerfile id baseconfig out expected | check dockerfile id baseconfig builtconfig
    let check = args[1] == "check";
    let at = if check { 2 } else { 1 };
    let parsed = parse(&fs::read(&args[at]).unwrap());
    assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
    let config: ImageConfig = serde_json::from_slice(&fs::read(&args[at + 2]).unwrap()).unwrap();
    let mut bases = BTreeMap::new();
    let wanted = lower::base_references(&parsed).unwrap_or_else(|e| {
        println!("{e:#?}");
        std::process::exit(3)
    });
    for w in wanted {
        bases.insert(
            w.reference,
            LoweredBase {
                reference: args[at + 1].clone(),
                config: config.clone(),
            },
        );
    }
    let plan = lower::lower(&parsed, &bases).unwrap_or_else(|e| {
        for f in e {
            println!("{} line {}: {}", f.rule, f.line, f.message);
        }
        std::process::exit(3)
    });
    if check {
        let whole: serde_json::Value = serde_json::from_slice(&fs::read(&args[at + 3]).unwrap()).unwrap();
        let built: ImageConfig = serde_json::from_value(whole["config"].clone()).unwrap();
        let m = plan.mismatches(&built);
        println!("MISMATCHES {m:?}");
        if !m.is_empty() {
            println!("expected {:#?}\nbuilt {built:#?}", plan.config);
        }
    } else {
        fs::write(&args[4], &plan.dockerfile).unwrap();
        println!("{}", plan.dockerfile);
        println!("{} steps", plan.steps.len());
    }
}
