//! As whom an image runs, and what its files may do. None of it can leave the walls, so none blocks.

rules! {
    ST201 Medium info ["C11"] ["hadolint:DL3002", "trivy:DS-0002", "checkov:CKV_DOCKER_8", "kics:Last_User_Is_root",
        "semgrep:last-user-is-root", "dockle:CIS-DI-0001", "CIS:4.1"] "The file ends as root"
        because "Whoever takes over the program is root in the container, which is the first half of an escape."
        so "End with a USER that is not root."
        bad "FROM debian:12\nUSER root\n"
        good "FROM debian:12\nUSER 1000\n";
    ST202 Low info ["C11"] ["hadolint:DL3002"] "A stage ends as root"
        because "A stage that is built on this one begins as root, though its own lines do not say so."
        so "Go back to another user at the end of the stage."
        bad "FROM debian:12 AS build\nUSER root\nFROM debian:12\nUSER 1000\n"
        good "FROM debian:12 AS build\nUSER 1000\nFROM debian:12\nUSER 1000\n";
    ST203 Medium info ["C11"] ["trivy:DS-0002", "checkov:CKV_DOCKER_3", "kics:Missing_User_Instruction",
        "semgrep:missing-user", "semgrep:missing-user-entrypoint", "dockle:CIS-DI-0001", "CIS:4.1"]
        "No USER in the file"
        because "The user is then the base's, and that is root nearly always."
        so "Add a USER that is not root to the last stage."
        bad "FROM debian:12\nCMD [\"true\"]\n"
        good "FROM debian:12\nUSER 1000\nCMD [\"true\"]\n";
    ST204 Medium info ["C11"] ["dockle:CIS-DI-0001", "CIS:4.1"] "No USER in the last stage"
        because "Other stages set a user, but the image that runs is the last one, and its user is the base's."
        so "Add a USER that is not root to the last stage."
        bad "FROM debian:12 AS build\nUSER 1000\nFROM debian:12\nCMD [\"true\"]\n"
        good "FROM debian:12 AS build\nUSER 1000\nFROM build\nCMD [\"true\"]\n";
    ST205 Low info ["C12"] ["hadolint:DL3066"] "USER is not a number"
        because "Only the image knows which id the name has, so nobody outside can tell that it is not root's."
        so "Write the numeric id: USER 1000:1000."
        bad "FROM debian:12\nUSER app\n"
        good "FROM debian:12\nUSER 1000\n";
    ST206 Medium info ["C15"] ["dockle:CIS-DI-0008", "CIS:4.8"] "File copied with the setuid or setgid bit"
        because "Such a program runs as its owner whoever calls it: a way to root that the USER line hides."
        so "Leave the first digit out: --chmod=755."
        bad "FROM debian:12\nCOPY --chmod=4755 tool /usr/bin/\n"
        good "FROM debian:12\nCOPY --chmod=755 tool /usr/bin/\n";
    ST207 Low info ["C17"] [] "--chown=root says nothing"
        because "What COPY takes from the build context belongs to root anyway."
        so "Remove the flag."
        bad "FROM debian:12\nCOPY --chown=root:root app /app\n"
        good "FROM debian:12\nCOPY app /app\n";
}
