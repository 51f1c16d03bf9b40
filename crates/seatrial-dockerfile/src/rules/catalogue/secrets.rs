//! What should have stayed with its owner: an image and its history are read by everybody who has them.

rules! {
    ST221 Critical warn ["C18"] ["hadolint:DL3064", "buildkit:SecretsUsedInArgOrEnv", "trivy:DS-0031",
        "kics:Secrets_Stored", "semgrep:secret-in-build-arg", "dockle:CIS-DI-0010", "CIS:4.10"]
        "Variable for a secret in the last stage"
        because "Values of ENV and ARG are kept in the image and its history, where anybody who has the image reads them."
        so "Hand secrets over when the container runs; a build needs none here."
        bad "FROM debian:12\nENV DB_PASSWORD=hunter2\n"
        good "FROM debian:12\nENV DB_USER_ID=7\n";
    ST222 High warn ["C18"] ["hadolint:DL3064", "buildkit:SecretsUsedInArgOrEnv", "kics:Secrets_Stored",
        "semgrep:secret-in-build-arg"] "Variable for a secret outside of the last stage"
        because "It does not reach the image, but stays in the builder's cache and logs."
        so "Leave it out; a build needs no secrets here."
        bad "FROM debian:12 AS build\nARG API_TOKEN\nFROM debian:12\n"
        good "FROM debian:12 AS build\nARG API_URL\nFROM debian:12\n";
    ST223 Medium info ["C18"] ["buildkit:SecretsUsedInArgOrEnv", "trivy:DS-0031", "kics:Secrets_Stored"]
        "Variable that may hold a key, in the last stage"
        because "If it is the secret half of a key, or a login, everybody who has the image reads it; the fingerprint of a \
                 public key is harmless."
        so "Say in the name that it is public: SIGNING_PUBLIC_KEY."
        bad "FROM debian:12\nENV SIGNING_KEY=A035C8C1\n"
        good "FROM debian:12\nENV SIGNING_PUBLIC_KEY=A035C8C1\n";
    ST224 Low info ["C18"] ["buildkit:SecretsUsedInArgOrEnv", "kics:Secrets_Stored"]
        "Variable that may hold a key, outside of the last stage"
        because "If it is the secret half of a key, or a login, it stays in the builder's cache and logs."
        so "Say in the name that it is public, or leave it out."
        bad "FROM debian:12 AS build\nARG SIGNING_KEY\nFROM debian:12\n"
        good "FROM debian:12 AS build\nARG SIGNING_PUBLIC_KEY\nFROM debian:12\n";
    ST225 Low info ["C18"] ["hadolint:DL3064"] "Variable with half of a login"
        because "A user name, or a word like `private`, often stands beside the secret that goes with it."
        so "If it belongs to a login, hand it over when the container runs."
        bad "FROM debian:12\nENV DB_USERNAME=app\n"
        good "FROM debian:12\nENV DB_NAME=app\n";
    ST226 Low info ["C18"] ["trivy:DS-0031"] "Variable that points at a secret, in the last stage"
        because "It holds the version, the file or the owner of a secret, and tells where to look for it."
        so "Hand it over when the container runs."
        bad "FROM debian:12\nENV ADMIN_PSW_FILE=/run/x\n"
        good "FROM debian:12\nENV ADMIN_NAME=x\n";
    ST227 Critical warn ["C18", "C19"] ["kics:Secrets_Stored", "dockle:CIS-DI-0010", "CIS:4.10"] "Credential written in the file"
        because "Whoever reads the file, the image's history or this report's source can use it; it must be taken as lost."
        so "Revoke it, and hand its successor over when the container runs."
        bad "FROM debian:12\nENV NPM=npm_0123456789abcdefghijABCDEFGHIJ012345\n"
        good "FROM debian:12\nENV NPM=${NPM_FROM_OUTSIDE}\n";
    ST228 High warn ["C20"] ["dockle:DKL-LI-0003"] "File of credentials copied into the image"
        because "Everybody who has the image has the file, also when a later step deletes it."
        so "Leave it out of the build context, and hand it over when the container runs."
        bad "FROM debian:12\nCOPY .npmrc /root/\n"
        good "FROM debian:12\nCOPY package.json /root/\n";
}
