//! Commands, metadata, variables and syntax: what makes a file surprise its reader.

rules! {
    ST521 Medium info ["C53"] ["hadolint:DL4003", "buildkit:MultipleInstructionsDisallowed", "trivy:DS-0016",
        "kics:Multiple_CMD/ENTRYPOINT"] "CMD that a later one replaces"
        because "Only the last CMD of a stage counts, so this one is at best forgotten and at worst shown to mislead."
        so "Remove it."
        bad "FROM debian:12\nCMD [\"a\"]\nCMD [\"b\"]\n"
        good "FROM debian:12\nCMD [\"b\"]\n";
    ST522 Medium info ["C53"] ["hadolint:DL4004", "buildkit:MultipleInstructionsDisallowed", "trivy:DS-0007",
        "kics:Multiple_CMD/ENTRYPOINT", "semgrep:multiple-entrypoint-instructions"] "ENTRYPOINT that a later one replaces"
        because "Only the last ENTRYPOINT of a stage counts, so this one is at best forgotten and at worst shown to mislead."
        so "Remove it."
        bad "FROM debian:12\nENTRYPOINT [\"a\"]\nENTRYPOINT [\"b\"]\n"
        good "FROM debian:12\nENTRYPOINT [\"b\"]\n";
    ST523 Low info ["C53"] ["hadolint:DL3012", "buildkit:MultipleInstructionsDisallowed", "trivy:DS-0023"]
        "HEALTHCHECK that a later one replaces"
        because "Only the last HEALTHCHECK of a stage counts."
        so "Remove it."
        bad "FROM debian:12\nHEALTHCHECK CMD [\"a\"]\nHEALTHCHECK CMD [\"b\"]\n"
        good "FROM debian:12\nHEALTHCHECK CMD [\"b\"]\n";
    ST524 Low info ["C54"] ["trivy:DS-0026", "checkov:CKV_DOCKER_2", "kics:Healthcheck_Missing",
        "dockle:CIS-DI-0006", "CIS:4.6"] "No HEALTHCHECK in the file"
        because "Nobody outside can tell a program that hangs from one that works."
        so "Add a HEALTHCHECK, or HEALTHCHECK NONE."
        bad "FROM debian:12\nCMD [\"a\"]\n"
        good "FROM debian:12\nHEALTHCHECK NONE\nCMD [\"a\"]\n";
    ST525 Low info ["C54"] ["hadolint:DL3057", "dockle:CIS-DI-0006", "CIS:4.6"] "No HEALTHCHECK in the last stage"
        because "Another stage has one, but the image that runs is the last one."
        so "Move the HEALTHCHECK to the last stage."
        bad "FROM debian:12 AS build\nHEALTHCHECK CMD [\"a\"]\nFROM debian:12\nCMD [\"a\"]\n"
        good "FROM debian:12 AS build\nHEALTHCHECK CMD [\"a\"]\nFROM build\nCMD [\"a\"]\n";
    ST526 Low info ["C55"] ["hadolint:DL3025", "buildkit:JSONArgsRecommended", "kics:Not_Using_JSON",
        "semgrep:prefer-json-notation"] "Command in shell form"
        because "A shell stands between: signals do not reach the program, and the image needs a shell."
        so "Use the JSON form: CMD [\"program\", \"argument\"]."
        bad "FROM debian:12\nCMD sleep 60\n"
        good "FROM debian:12\nCMD [\"sleep\", \"60\"]\n";
    ST527 Low info ["C55"] ["hadolint:DL3025"] "Command in the form of a SHELL that the file chose"
        because "A shell stands between: signals do not reach the program, and another SHELL line changes what runs."
        so "Use the JSON form: CMD [\"program\", \"argument\"]."
        bad "FROM debian:12\nSHELL [\"/bin/bash\", \"-c\"]\nCMD sleep 60\n"
        good "FROM debian:12\nSHELL [\"/bin/bash\", \"-c\"]\nCMD [\"sleep\", \"60\"]\n";
    ST528 Low info ["C55"] ["hadolint:DL3025"] "HEALTHCHECK in shell form"
        because "Each check starts a shell of its own, and the image needs one."
        so "Use the JSON form: HEALTHCHECK CMD [\"program\", \"argument\"]."
        bad "FROM debian:12\nHEALTHCHECK CMD test -e /ready\n"
        good "FROM debian:12\nHEALTHCHECK CMD [\"test\", \"-e\", \"/ready\"]\n";
    ST529 Medium warn ["G24"] [] "SHELL that is no shell"
        because "From here on the text of RUN means whatever that program makes of it, so it cannot be judged as shell."
        so "Use a shell, and call the program where it is needed."
        bad "FROM debian:12\nSHELL [\"python3\", \"-c\"]\n"
        good "FROM debian:12\nSHELL [\"/bin/bash\", \"-c\"]\n";
    ST530 Medium warn ["G24"] [] "Command that starts through a detour"
        because "A loader, a file descriptor or a folder that anybody can write to decides what really runs."
        so "Name the program itself, in a folder that only root writes to."
        bad "FROM debian:12\nENTRYPOINT [\"/lib64/ld-linux-x86-64.so.2\", \"/srv/app\"]\n"
        good "FROM debian:12\nENTRYPOINT [\"/srv/app\"]\n";
    ST531 Medium warn ["G25"] [] "Variable that brings code into every program"
        because "Loaders, shells and interpreters run what it names before the program begins, in each step and in the \
                 container, and no command shows it."
        so "Leave the variable out, or set it for the one command that needs it."
        bad "FROM debian:12\nENV LD_PRELOAD=/opt/hook.so\n"
        good "FROM debian:12\nENV LANG=C.UTF-8\n";
    ST532 Medium warn ["G25"] [] "PATH that begins where others can write"
        because "Whoever writes there first decides what every command means."
        so "Put folders that only root writes to first."
        bad "FROM debian:12\nENV PATH=/tmp/bin:$PATH\n"
        good "FROM debian:12\nENV PATH=$PATH:/opt/app/bin\n";
    ST541 Low info ["C57"] ["hadolint:DL3048"] "Key of a label that is not valid"
        because "Keys have a form (lower case, digits, single dots and hyphens) and namespaces with owners: others are not \
                 found, or are taken for somebody else's word."
        so "Use a key of your own domain, in lower case."
        bad "FROM debian:12\nLABEL Vendor=x\n"
        good "FROM debian:12\nLABEL org.example.vendor=x\n";
    ST542 Low info ["C57"] ["hadolint:DL3051"] "Empty label"
        because "It says nothing."
        so "Give it a value, or leave it out."
        bad "FROM debian:12\nLABEL org.opencontainers.image.title=\"\"\n"
        good "FROM debian:12\nLABEL org.opencontainers.image.title=\"app\"\n";
    ST543 Low info ["C57"] ["hadolint:DL3052"] "Label whose value should be a URL"
        because "Tools follow this label, and the value leads nowhere."
        so "Write a whole URL: https://…."
        bad "FROM debian:12\nLABEL org.opencontainers.image.url=here\n"
        good "FROM debian:12\nLABEL org.opencontainers.image.url=https://example.com/\n";
    ST544 Low info ["C57"] ["hadolint:DL3053"] "Label whose value should be a date"
        because "Tools compare this label, and cannot read the value."
        so "Write it as RFC 3339 says: 2026-01-02T03:04:05Z."
        bad "FROM debian:12\nLABEL org.opencontainers.image.created=yesterday\n"
        good "FROM debian:12\nLABEL org.opencontainers.image.created=2026-01-02T03:04:05Z\n";
    ST545 Low info ["C57"] ["hadolint:DL3054"] "Label whose value should be a licence"
        because "Tools that collect licences know SPDX expressions only."
        so "Write an SPDX expression: MIT OR Apache-2.0."
        bad "FROM debian:12\nLABEL org.opencontainers.image.licenses=\"do what you like\"\n"
        good "FROM debian:12\nLABEL org.opencontainers.image.licenses=\"MIT OR Apache-2.0\"\n";
    ST546 Low info ["C57"] ["hadolint:DL3055"] "Label whose value should be a commit"
        because "Whoever looks for the source of the image does not find it."
        so "Write the hash of the commit."
        bad "FROM debian:12\nLABEL org.opencontainers.image.revision=main\n"
        good "FROM debian:12\nLABEL org.opencontainers.image.revision=29ce114\n";
    ST547 Low info ["C57"] ["hadolint:DL3056"] "Label whose value should be a version"
        because "Tools that order versions cannot place this one."
        so "Write a semantic version: 1.2.3."
        bad "FROM debian:12\nLABEL org.opencontainers.image.version=newest\n"
        good "FROM debian:12\nLABEL org.opencontainers.image.version=1.2.3\n";
    ST548 Low info ["C57"] ["hadolint:DL3058"] "Address that is none"
        because "Whoever finds something wrong with the image cannot write to this address."
        so "Write an address like name@example.com."
        bad "FROM debian:12\nLABEL org.opencontainers.image.authors=\"<someone@>\"\n"
        good "FROM debian:12\nLABEL org.opencontainers.image.authors=\"<someone@example.com>\"\n";
    ST549 Low info ["C58"] ["hadolint:DL4000", "buildkit:MaintainerDeprecated", "trivy:DS-0022", "checkov:CKV_DOCKER_6",
        "kics:MAINTAINER", "semgrep:maintainer-is-deprecated"] "MAINTAINER"
        because "The instruction is deprecated, and tools that list an image's labels do not see it."
        so "Use LABEL org.opencontainers.image.authors."
        bad "FROM debian:12\nMAINTAINER someone@example.com\n"
        good "FROM debian:12\nLABEL org.opencontainers.image.authors=\"someone@example.com\"\n";
    ST551 Low info ["C59"] ["buildkit:UndefinedVar"] "Variable that the file does not set"
        because "Unless the base sets it, the variable is empty, and a path or a name becomes another one."
        so "Declare it with ARG or ENV before."
        bad "FROM debian:12\nCOPY app /srv/$APP_NAME\n"
        good "FROM debian:12\nARG APP_NAME=app\nCOPY app /srv/$APP_NAME\n";
    ST552 Low info ["C59"] ["hadolint:DL3044"] "Variable used in the ENV that sets it"
        because "All values of an ENV see the variables as they were before it: here the variable is still unset."
        so "Set it in an ENV of its own before."
        bad "FROM debian:12\nENV APP=/srv/app BIN=$APP/bin\n"
        good "FROM debian:12\nENV APP=/srv/app\nENV BIN=$APP/bin\n";
    ST553 Low info ["C59"] ["buildkit:LegacyKeyValueFormat"] "Old form of ENV or LABEL"
        because "Without `=` the rest of the line is the value, also what was meant as the next pair."
        so "Write name=value."
        bad "FROM debian:12\nENV APP /srv/app\n"
        good "FROM debian:12\nENV APP=/srv/app\n";
    ST554 Medium warn ["C60"] ["hadolint:DL3043"] "Trigger that no builder takes"
        because "ONBUILD holds no FROM, MAINTAINER or ONBUILD; a builder that took it would build what nobody read."
        so "Remove the line."
        bad "FROM debian:12\nONBUILD MAINTAINER me\n"
        good "FROM debian:12\nONBUILD RUN make\n";
    ST555 Low info ["C61"] ["buildkit:NoEmptyContinuation"] "Empty line between continued lines"
        because "The instruction goes on behind it, though it looks finished; builders announce that they will refuse it."
        so "Remove the empty line."
        bad "FROM debian:12\nRUN a \\\n\n  b\n"
        good "FROM debian:12\nRUN a \\\n  b\n";
    ST556 Low info ["C63"] ["buildkit:InvalidDefinitionDescription"] "Comment that describes nothing"
        because "The file asks for comments of the form `# NAME …` before each ARG and stage; tools show this one to nobody."
        so "Begin the comment with the name, or put an empty line behind it."
        bad "# check=experimental=InvalidDefinitionDescription\n# what is built\nFROM debian:12 AS build\n"
        good "# check=experimental=InvalidDefinitionDescription\n# build is what is built\nFROM debian:12 AS build\n";
}
