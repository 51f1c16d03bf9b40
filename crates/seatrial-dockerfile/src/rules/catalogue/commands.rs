//! Shell habits: commands that do little harm and little good.

rules! {
    ST451 Medium warn ["C33"] ["hadolint:DL4006", "kics:Pipe_Without_Pipefail", "semgrep:set-pipefail"]
        "Failure in a pipe goes unnoticed"
        because "A pipe ends as its last program does: when the first one fails (a download, a check) the build goes on with \
                 half of the data or none."
        so "Put SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"] before it, or begin the script with set -o pipefail."
        bad "FROM debian:12\nRUN cat /etc/hosts | sort > /hosts\n"
        good "FROM debian:12\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN cat /etc/hosts | sort > /hosts\n";
    ST452 Low info ["C34"] ["hadolint:DL3003", "trivy:DS-0013", "kics:cd_instead_of_WORKDIR", "semgrep:use-workdir"]
        "cd in place of WORKDIR"
        because "It counts for this step only, so the next reader has to find out where each command runs."
        so "Use WORKDIR, or what the program itself has for it: make -C folder."
        bad "FROM debian:12\nRUN cd /srv && make\n"
        good "FROM debian:12\nWORKDIR /srv\nRUN make\n";
    ST453 Low info ["C35"] ["hadolint:DL4001", "trivy:DS-0014", "kics:wget_and_curl", "semgrep:use-either-wget-or-curl"]
        "wget and curl side by side"
        because "Two programs for one purpose: more to install, to keep free of holes and to abuse."
        so "Use one of them."
        bad "FROM debian:12\nRUN wget -q https://example.com/a\nRUN curl -sO https://example.com/b\n"
        good "FROM debian:12\nRUN curl -sO https://example.com/a\nRUN curl -sO https://example.com/b\n";
    ST454 Low info ["C36"] ["hadolint:DL3001", "kics:Run_Utilities", "semgrep:nonsensical-command"]
        "Command that makes no sense in a build"
        because "There is no terminal, no service manager and no machine to look after: the command does nothing that \
                 lasts, or was written for another place."
        so "Remove it; start services when the container starts."
        bad "FROM debian:12\nRUN service nginx start\n"
        good "FROM debian:12\nCMD [\"nginx\", \"-g\", \"daemon off;\"]\n";
    ST455 Low info ["C37"] ["hadolint:DL3047"] "wget draws its progress into the log"
        because "A download of some size writes thousands of lines, and what matters goes under in them."
        so "Add -q or --progress=dot:giga."
        bad "FROM debian:12\nRUN wget https://example.com/a\n"
        good "FROM debian:12\nRUN wget --progress=dot:giga https://example.com/a\n";
    ST456 Low info ["C37"] ["hadolint:DL3059"] "RUN that could be part of the one before"
        because "Each RUN is a layer: what one writes and the next deletes stays in the image."
        so "Join the two with &&, or use a here-document."
        bad "FROM debian:12\nRUN make\nRUN make install\n"
        good "FROM debian:12\nRUN make && make install\n";
    ST457 Low info ["C38"] ["hadolint:DL4005", "kics:Changing_Default_Shell", "semgrep:use-shell-instruction"]
        "Shell of the system replaced"
        because "Every script in the image that asks for /bin/sh gets another program than it was tested with."
        so "Use SHELL [\"/bin/bash\", \"-c\"] for the steps that need it."
        bad "FROM debian:12\nRUN ln -sf /bin/bash /bin/sh\n"
        good "FROM debian:12\nSHELL [\"/bin/bash\", \"-c\"]\nRUN type source\n";
    ST458 Medium warn ["C16"] ["hadolint:DL3046"] "User with a high number and a login log"
        because "useradd writes a place in /var/log/lastlog for every number up to this one: a sparse file of gigabytes that \
                 builders and registries write out in full."
        so "Add --no-log-init."
        bad "FROM debian:12\nRUN useradd --uid 1000700000 app\n"
        good "FROM debian:12\nRUN useradd --no-log-init --uid 1000700000 app\n";
    ST459 Low info ["C34"] ["hadolint:DL3003", "kics:cd_instead_of_WORKDIR", "semgrep:use-workdir"]
        "cd in the middle of a step"
        because "Where each later command runs hangs on which commands before it ran, and the next reader has to find out."
        so "Use WORKDIR, or what the program itself has for it: make -C folder."
        bad "FROM debian:12\nRUN set -e; cd /srv; make\n"
        good "FROM debian:12\nRUN set -e; make -C /srv\n";
}
