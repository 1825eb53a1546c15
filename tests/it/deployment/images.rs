//! What can be said of the images and the compose file without building them: no container is built or run here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use aegis_contract::dsse::{ReceiptKey, ReceiptVerifier};
use aegis_contract::key::SharedSecret;
use aegis_contract::strict::base64_decode;
use aegis_tests::database::{Server, Service, execute};
use aegis_tests::paths::{RunFolder, checkout, random_name};
use aegis_tests::process::Launch;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;

use super::installation::{items, text};

/// The targets of the Dockerfile and the binary in each.
const IMAGES: [(&str, &str); 3] =
    [("control-plane", "aegis-control-plane"), ("executor", "aegis-executor"), ("aegisctl", "aegisctl")];

fn read(path: &str) -> Result<String> {
    fs::read_to_string(checkout().join(path)).with_context(|| format!("no {path}"))
}

/// What cargo says of the workspace in a folder, without looking at dependencies.
fn workspace(folder: &Path) -> Result<Value> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--locked"])
        .current_dir(folder)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[test]
fn each_image_holds_one_binary_of_the_workspace_and_runs_as_nobody() -> Result<()> {
    let dockerfile = read("Dockerfile")?;
    let stages: Vec<_> = dockerfile.split("\nFROM ").skip(1).collect();
    let stage = |name: &str| {
        let is_named =
            |stage: &&&str| stage.lines().next().is_some_and(|from| from.ends_with(&format!(" AS {name}")));
        stages.iter().find(is_named).with_context(|| format!("no stage {name}"))
    };
    let metadata = workspace(checkout())?;
    let binaries: BTreeSet<_> = items(&metadata["packages"])
        .flat_map(|package| items(&package["targets"]))
        .filter(|target| items(&target["kind"]).any(|kind| kind == "bin"))
        .filter_map(|target| target["name"].as_str())
        .collect();

    let build = stage("build")?;
    let toolchain = read("rust-toolchain.toml")?;
    let version = toolchain.split('"').nth(1).context("the toolchain's version")?;
    assert!(
        build.contains(&format!("/rust:{version}-"))
            && build.contains(&format!("RUSTUP_TOOLCHAIN={version}"))
    );
    assert!(build.contains("cargo build --release --locked"));
    let runtime = stage("runtime")?;
    assert!(runtime.contains(":nonroot AS runtime") && runtime.contains("\nUSER 65532:65532"), "{runtime}");
    for (image, binary) in IMAGES {
        assert!(binaries.contains(binary), "the workspace builds no {binary}");
        assert!(build.contains(&format!("--package {binary}")), "{binary} is not built");
        let stage = stage(image)?;
        assert!(stage.starts_with("runtime AS"), "{image} is not made from the runtime");
        assert!(!stage.contains("USER"), "{image} changes the user");
        assert!(
            stage
                .contains(&format!("COPY --from=build /src/target/release/{binary} /usr/local/bin/{binary}"))
        );
        assert!(stage.contains(&format!("ENTRYPOINT [\"/usr/local/bin/{binary}\"]")));
    }
    Ok(())
}

#[test]
fn what_the_build_is_given_is_the_whole_workspace_and_nothing_else() -> Result<()> {
    let ignore = read(".dockerignore")?;
    let given: Vec<_> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignore.lines().any(|line| line == "*"), "everything is left out at first");
    let folder = RunFolder::create("build-context")?;
    for path in given {
        let to = folder.path().join(path);
        fs::create_dir_all(to.parent().context("a parent")?)?;
        let from = checkout().join(path);
        ensure!(from.exists(), ".dockerignore gives {path}, which is not there");
        let copied = Command::new("cp").arg("-r").arg(from).arg(to).output()?;
        ensure!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    }
    let members = |metadata: &Value| items(&metadata["workspace_members"]).count();
    let inside = workspace(folder.path())?;
    assert_eq!(members(&inside), members(&workspace(checkout())?));
    // Compiled into the binaries.
    for path in ["migrations/control-plane", "migrations/executor", "control-plane/.sqlx", "executor/.sqlx"] {
        assert!(folder.path().join(path).is_dir(), "the build lacks {path}");
    }
    Ok(())
}

/// The values of `key: value` anywhere in the compose file, also inside braces.
fn values<'a>(compose: &'a str, key: &str) -> BTreeSet<&'a str> {
    let after = |line: &'a str| line.split_once(&format!("{key}: ")).map(|(_, rest)| rest);
    let found = compose.lines().filter(|line| !line.trim_start().starts_with('#')).filter_map(after);
    found.map(|rest| rest.split([',', ' ', '}']).next().unwrap_or_default()).collect()
}

#[tokio::test]
async fn the_compose_file_names_what_is_there_and_the_secrets_that_its_script_makes() -> Result<()> {
    let compose = read("compose.yaml")?;
    let images: BTreeSet<_> = IMAGES.iter().map(|(image, _)| *image).collect();
    let targets: BTreeSet<_> = compose
        .lines()
        .filter(|line| line.contains("build:"))
        .flat_map(|line| values(line, "target"))
        .collect();
    assert!(!targets.is_empty() && targets.is_subset(&images), "{targets:?}");

    let folder = RunFolder::create("compose")?;
    let made = folder.path().join("secrets");
    let script = Launch::new(checkout().join("compose/make-secrets.sh")).arg(&made);
    script.output().await?;
    let first = fs::read_to_string(made.join("master-key"))?;
    script.output().await?;
    assert_eq!(fs::read_to_string(made.join("master-key"))?, first, "a secret was made anew");
    for file in values(&compose, "file") {
        let name = file.strip_prefix("compose/secrets/").with_context(|| format!("{file} lies elsewhere"))?;
        // A cluster gives the one, and `log-key` prints the other from the master key.
        let is_told = name == "kubeconfig" || name == "log-key";
        assert!(is_told || made.join(name).is_file(), "make-secrets.sh makes no {name}");
        let is_explained = |line: &str| line.starts_with('#') && line.contains(&format!("secrets/{name}"));
        assert!(!is_told || compose.lines().any(is_explained), "nothing says where {name} comes from");
        assert!(
            compose.contains(&format!("/run/secrets/{name}"))
                || compose.contains(&format!("source: {name},"))
        );
    }
    let secret =
        |name: &str| Ok::<_, anyhow::Error>(fs::read_to_string(made.join(name))?.trim_end().to_owned());
    assert_eq!(base64_decode(&secret("master-key")?)?.len(), 32);
    assert!(secret("jwt-secret")?.len() >= 32);
    SharedSecret::from_base64(&secret("order-key")?)?;
    let receipt_key = ReceiptKey::from_pkcs8_pem(&secret("receipt-key")?)?;
    let verifier = ReceiptVerifier::from_public_pem(&secret("receipt-key.pub")?)?;
    assert_eq!(verifier.key_ids().collect::<Vec<_>>(), [receipt_key.id()]);
    let password = secret("redis-conf")?;
    let password =
        password.lines().find_map(|line| line.strip_prefix("requirepass ")).context("a password")?;
    assert_eq!(secret("redis-url")?, format!("redis://:{password}@redis:6379"));
    for service in Service::ALL {
        let prefix = service.program().trim_start_matches("aegis-");
        for (name, role) in [("url", service.role()), ("owner-url", service.owner_role())] {
            let options: PgConnectOptions = secret(&format!("{prefix}-{name}"))?.parse()?;
            assert_eq!(options.get_username(), role);
            assert_eq!(options.get_host(), format!("{prefix}-database"));
            assert_eq!(options.get_database(), Some(service.role()));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_new_database_lets_in_its_two_roles_alone_and_only_the_owner_changes_its_layout() -> Result<()> {
    let server = Server::shared().await?;
    let other = server.empty(Service::Executor).await?;
    let folder = RunFolder::create("create-database")?;
    let role = format!("trial_{}", random_name(8));
    for name in ["password", "owner-password"] {
        fs::write(folder.path().join(name), format!("{name}\n"))?;
    }
    let superuser: PgConnectOptions = other.superuser_url.parse()?;
    let password = other.superuser_url.split([':', '@']).nth(2).context("a password")?;
    Launch::new(checkout().join("compose/create-database.sh"))
        .env("ROLE", &role)
        .env("TAKES", format!("{role}_taken"))
        .env("SECRETS", folder.path())
        .env("POSTGRES_USER", superuser.get_username())
        .env("PGHOST", superuser.get_host())
        .env("PGPORT", superuser.get_port().to_string())
        .env("PGPASSWORD", password)
        .output()
        .await?;

    let address = format!("{}:{}", superuser.get_host(), superuser.get_port());
    let url = |user: &str, password: &str, database: &str| {
        format!("postgres://{user}:{password}@{address}/{database}")
    };
    let owner = url(&format!("{role}_owner"), "owner-password", &role);
    let application = url(&role, "password", &role);
    execute(&owner, "create table t (id int)".to_owned()).await?;
    execute(&application, "select 1".to_owned()).await?;
    let grant = format!("grant select on t to {role}_taken");
    execute(&owner, grant).await?;
    execute(&application, format!("set role {role}_taken; select * from t")).await?;
    for sql in ["create table u (id int)", "create schema s", "select * from t", "drop table t"] {
        assert!(execute(&application, sql.to_owned()).await.is_err(), "{sql}");
    }
    assert!(execute(&url(&role, "password", &other.name), "select 1".to_owned()).await.is_err());
    assert!(execute(&server.url(Service::Executor.role(), &role)?, "select 1".to_owned()).await.is_err());
    Ok(())
}

#[test]
fn no_image_is_taken_at_whatever_version_happens_to_be_the_latest() -> Result<()> {
    for file in ["Dockerfile", "compose.yaml"] {
        let content = read(file)?;
        let named = content.lines().filter_map(|line| {
            let line = line.trim();
            line.strip_prefix("FROM ").or_else(|| line.strip_prefix("image: "))
        });
        for image in named.map(|rest| rest.split(' ').next().unwrap_or_default()) {
            let is_stage = image == "runtime";
            let tag = image.rsplit('/').next().and_then(|name| name.split_once(':')).map(|(_, tag)| tag);
            assert!(is_stage || tag.is_some_and(|tag| tag != "latest"), "{file}: {image}");
        }
    }
    let metadata = workspace(checkout())?;
    let version = text(&metadata["packages"][0]["version"])?;
    let compose = read("compose.yaml")?;
    for image in values(&compose, "image").into_iter().filter(|image| image.starts_with("aegis/")) {
        assert!(image.ends_with(&format!(":{version}")), "{image} is not of version {version}");
    }
    Ok(())
}
