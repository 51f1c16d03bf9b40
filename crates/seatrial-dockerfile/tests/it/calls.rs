//! Calls of package managers in every kind of shell text: judged without panic, corrected without surprises.

use proptest::prelude::*;
use seatrial_dockerfile::{
    parse,
    rules::{self, Context},
};

use crate::fix::surprises;

fn piece() -> impl Strategy<Value = String> {
    let call = prop::sample::select(vec![
        "apt-get update",
        "apt-get install",
        "apt-get -y install",
        "apt update",
        "apt install -y --no-install-recommends",
        "apt install",
        "aptitude update",
        "apk add",
        "apk add -t",
        "yum install",
        "dnf install",
        "microdnf clean all",
        "zypper in",
        "pip install",
        "python3 -m pip install",
        "npm i -g",
        "gem install",
        "go install",
        "yarn",
        "cargo install",
        "composer require",
        "cd /a",
        "wget x",
        "curl y",
        "useradd -u 1234567",
        "ln -s a /bin/sh",
        "service a start",
        "rm -rf /var/lib/apt/lists/*",
        "rm -r /var/{lib,cache}/apt",
        "export PIP_NO_CACHE_DIR=1",
        "set -o pipefail",
    ]);
    let word = prop::sample::select(vec![
        " a",
        " a=1",
        " a@1",
        " -q",
        " -y",
        " --",
        " -",
        " -o",
        " $x",
        " \"b c\"",
        " 'd'",
        " é",
        " \\\n  e",
        " \\\n# f\n  g",
        " {h,i}",
        " @j/k",
        " git+https://l/m",
        " ./n",
        " *",
    ]);
    let joint = prop::sample::select(vec![
        " && ",
        "; ",
        " | ",
        " || ",
        " & ",
        "\nRUN ",
        " \\\n  && ",
        " \\\n# c\n  && ",
        " $(",
        ")",
        " (",
        " { ",
        "; }",
        " `",
        " <<E\n",
        "\nE\n",
        "\nRUN <<E\n",
        " sh -c '",
        "'",
        "\"",
        " if ",
        "; then ",
        "; fi",
        "\nONBUILD RUN ",
        "\nRUN [\"sh\", \"-c\", \"",
        "\"]\n",
        "\nENV x=install\nRUN ",
        "\nENV PIP_NO_CACHE_DIR=1\nRUN ",
        "\nFROM b AS c\nRUN ",
        "\nFROM c\nRUN ",
        "\nRUN --mount=type=cache,target=/var/lib/apt ",
        "\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN ",
        " sudo ",
        " command -v ",
        " xargs ",
        " env A=b ",
    ]);
    prop_oneof![
        3 => call.prop_map(str::to_owned),
        3 => word.prop_map(str::to_owned),
        3 => joint.prop_map(str::to_owned),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn made_calls_are_judged_and_corrected_without_surprises(
        pieces in prop::collection::vec(piece(), 1..14),
        tick in any::<bool>(),
        fragment in prop::bool::weighted(0.1),
    ) {
        let head = if tick { "# escape=`\n" } else { "" };
        let from = if fragment { "" } else { "FROM debian\n" };
        let text = format!("{head}{from}RUN {}\n", pieces.concat());
        let parsed = parse(text.as_bytes());
        let findings = rules::analyze(text.as_bytes(), &parsed, &Context { allowed: &|_| true, pinned: false });
        for finding in &findings {
            prop_assert!(text.get(finding.span.range()).is_some(), "{finding:?}");
        }
        let (found, _) = surprises(&text);
        prop_assert!(found.is_empty(), "{}", found.join("\n"));
    }
}
