//! ST201 to ST207: users, owners, modes.

use super::*;

#[test]
fn the_last_user_of_the_file_and_of_each_stage_counts() {
    check(
        "ST201",
        &[
            "FROM a\nUSER root\n",
            "FROM a\nUSER 0:1000\n",
            "FROM a\nUSER 7\nUSER \"root\"\n",
            "FROM a AS x\nUSER root\nFROM x\nRUN y\n",
        ],
        &[
            "FROM a\nUSER root\nUSER 7\n",
            "FROM a\nUSER roots\n",
            "FROM a\nONBUILD USER root\n",
            "FROM a\nUSER 00\n",
        ],
    );
    check(
        "ST202",
        &["FROM a\nUSER 0\nFROM b\nUSER 7\n"],
        &["FROM a\nUSER 0\nUSER 7\nFROM b\nUSER 7\n", "FROM a\nUSER root\n"],
    );
    check(
        "ST203",
        &["FROM a\n", "FROM a\nONBUILD USER 7\n"],
        &["FROM a\nUSER root\n", "FROM a\nUSER x\nFROM b\n"],
    );
    check(
        "ST204",
        &["FROM a AS x\nUSER 7\nFROM b\n", "FROM a\nUSER 7\nFROM x\n"],
        &["FROM a AS x\nUSER 7\nFROM x AS y\nFROM y\n", "FROM a\nFROM b\n"],
    );
}

#[test]
fn users_are_numbers_and_files_nobody_elses() {
    check(
        "ST205",
        &["FROM a\nUSER app\n", "FROM a\nUSER $U\n", "FROM a\nUSER app:7\n"],
        &["FROM a\nUSER 7\n", "FROM a\nUSER 7:app\n", "FROM a\nUSER \"7\"\n"],
    );
    check_lines(
        "ST206",
        &[
            "COPY --chmod=4755 a /b",
            "COPY --chmod=2755 a /b",
            "ADD --chmod=06755 a /b",
            "COPY --chmod=u+s a /b",
            "COPY --chmod=a=rx,g=rxs a /b",
        ],
        &[
            "COPY --chmod=755 a /b",
            "COPY --chmod=1777 a /b",
            "COPY --chmod=0755 a /b",
            "COPY --chmod=u+x,g-s a /b",
            "COPY --chmod=$M a /b",
        ],
    );
    check_lines(
        "ST207",
        &["COPY --chown=root a /b", "COPY --chown=0:0 a /b"],
        &[
            "COPY --chown=root:7 a /b",
            "COPY --from=x --chown=0 a /b",
            "ADD --chown=0:0 a.tar /b",
            "COPY --chown=7 a /b",
        ],
    );
}
