//! What is in `deploy/`, by the tools that judge it: the image is built, loaded and run, the Kubernetes manifest held
//! against Kubernetes' own schemas and its config served, the systemd unit verified by systemd.

use gateway_tests::gateway::{Gateway, Until, binary, cli, http_get, printed, write_config};
use gateway_tests::lab::{Broker, Kind, free_ports, tests_dir};
use serde_json::{Value, json};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn deploy_dir() -> PathBuf {
    tests_dir().parent().expect("the repository").join("deploy")
}

/// Runs a tool to its end: what it printed. Fails with that when the tool fails.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?} failed:\n{}", printed(&output));
    printed(&output)
}

/// All files and folders below `dir`.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found
}

/// Buildah with a storage of its own.
struct Buildah(tempfile::TempDir);

impl Buildah {
    fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(self.0.path().join("storage")).arg("--runroot").arg(self.0.path().join("run"));
        run(command.args(["--storage-driver", "vfs"]).args(arguments)).trim().to_owned()
    }
}

/// A process that is killed if the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_image_holds_nothing_but_the_gateway_and_serves_as_a_user_that_can_write_nowhere() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let archive = dir.path().join("image.tar");
    let mut build = Command::new(deploy_dir().join("build-image"));
    build.arg("--binary").arg(binary()).arg("--output").arg(&archive).args(["--tag", "localhost/gateway-test:1"]);
    let built = run(&mut build);
    assert!(built.contains(env!("CARGO_PKG_VERSION")), "the image's own `version`: {built}");

    // Loaded from the file, as an engine does.
    let buildah = Buildah(tempfile::tempdir().expect("a temporary folder"));
    let container = buildah.run(&["from", "--quiet", &format!("docker-archive:{}", archive.display())]);
    let inspected: Value = serde_json::from_str(&buildah.run(&["inspect", &container])).expect("JSON");
    let config = &inspected["OCIv1"]["config"];
    assert_eq!(config["User"], "65532:65532", "{config}");
    assert_eq!(config["Entrypoint"], json!(["/usr/bin/bayeux-gateway"]));
    assert_eq!(config["Cmd"], Value::Null, "no arguments of its own");
    assert_eq!(config["ExposedPorts"], json!({"8080/tcp": {}, "8081/tcp": {}}));
    assert_eq!(config["Labels"]["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));

    let root = PathBuf::from(buildah.run(&["mount", &container]));
    let programs: Vec<PathBuf> = below(&root)
        .into_iter()
        .filter(|path| {
            let meta = path.symlink_metadata().expect("its state");
            assert_eq!((meta.uid(), meta.gid()), (0, 0), "{} belongs to root", path.display());
            assert_eq!(meta.mode() & 0o6022, 0, "{} is writable for others or lends rights", path.display());
            meta.is_file() && meta.mode() & 0o111 != 0 && !path.to_string_lossy().contains(".so")
        })
        .collect();
    assert_eq!(programs, [root.join("usr/bin/bayeux-gateway")], "no shell, no other program");
    let certificates =
        std::fs::read_to_string(root.join("etc/ssl/certs/ca-certificates.crt")).expect("CA certificates");
    assert!(certificates.matches("BEGIN CERTIFICATE").count() > 50);

    // In that root, as that user, which owns nothing there: the same as a read-only root.
    let port = free_ports(2);
    let variable = inspected["OCIv1"]["config"]["Env"][0].as_str().and_then(|e| e.split_once('=')).expect("a variable");
    let mut serve = Command::new("chroot");
    serve
        .arg("--userspec=65532:65532")
        .arg(&root)
        .arg("/usr/bin/bayeux-gateway")
        .env_clear()
        .env(variable.0, variable.1);
    serve.env("PATH", std::env::var_os("PATH").unwrap_or_default()); // to find chroot
    serve.env("BAYEUX_GATEWAY__SERVER__LISTEN", format!("127.0.0.1:{port}"));
    serve.env("BAYEUX_GATEWAY__ADMIN__LISTEN", format!("127.0.0.1:{}", port + 1));
    let mut gateway = Running(serve.stdin(Stdio::null()).spawn().expect("chroot, as root"));
    let limit = Instant::now() + Duration::from_secs(60);
    while http_get(port + 1, "/readyz").is_none_or(|(status, _)| status != 200) {
        assert_eq!(gateway.0.try_wait().expect("its state"), None, "it ended");
        assert!(Instant::now() < limit, "it does not get ready");
        std::thread::sleep(Duration::from_millis(20)); // another process: there is no event to wait for
    }
    let url = format!("http://127.0.0.1:{port}/cometd");
    let answer = cli(&["call", &url, "/service/echo", r#"{"from":"outside"}"#]);
    assert!(printed(&answer).contains(r#"{"from":"outside"}"#), "{}", printed(&answer));
    run(Command::new("kill").args(["-TERM", &gateway.0.id().to_string()]));
    assert_eq!(gateway.0.wait().expect("its state").code(), Some(0), "drained");
}

/// The value at a JSON pointer, which must be there.
fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or_else(|| panic!("there is no {pointer} in {value:#}"))
}

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let fits = |item: &&Value| item["name"] == name;
    list.as_array().into_iter().flatten().find(fits).unwrap_or_else(|| panic!("there is no {name} in {list:#}"))
}

#[test]
fn kubernetes_takes_the_manifest_and_its_parts_fit_together() {
    let file = deploy_dir().join("kubernetes/sidecar.yaml");
    run(Command::new(tests_dir().join("deploy/kubernetes")).arg(&file));

    let text = std::fs::read_to_string(&file).expect("the manifest");
    let resources: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
    let of_kind = |kind: &str| resources.iter().find(|r| r["kind"] == kind).expect(kind);
    let (config_map, deployment, service) = (of_kind("ConfigMap"), of_kind("Deployment"), of_kind("Service"));
    let pod = at(deployment, "/spec/template/spec");
    let gateway = named(&pod["containers"], "gateway");
    let labels = at(deployment, "/spec/template/metadata/labels");
    assert_eq!(at(deployment, "/spec/selector/matchLabels"), labels);
    assert_eq!(at(service, "/spec/selector"), labels);
    assert_eq!(pod["volumes"][0]["configMap"]["name"], config_map["metadata"]["name"]);
    let mount = &gateway["volumeMounts"][0];
    assert_eq!(mount["name"], pod["volumes"][0]["name"]);
    let path = format!("{}/gateway.yaml", mount["mountPath"].as_str().expect("a path"));
    assert_eq!(gateway["args"], json!(["--config", path]));
    named(&gateway["ports"], at(service, "/spec/ports/0/targetPort").as_str().expect("a port's name"));

    let yaml = at(config_map, "/data/gateway.yaml").as_str().expect("text");
    let config: Value = serde_saphyr::from_str(yaml).expect("YAML");
    for (section, port) in [("server", "bayeux"), ("admin", "admin")] {
        let port = &named(&gateway["ports"], port)["containerPort"];
        assert_eq!(config[section]["listen"], format!("0.0.0.0:{port}"), "{section} listens where the pod says");
    }
    let shutdown: u64 =
        at(&config, "/server/shutdown_timeout").as_str().unwrap().trim_end_matches('s').parse().unwrap();
    assert!(pod["terminationGracePeriodSeconds"].as_u64().expect("a number") > shutdown, "longer than the drain");
    let app = named(&pod["containers"], "app")["ports"][0]["containerPort"].to_string();
    let url = at(&config, "/services/0/http/url").as_str().expect("a URL");
    assert!(url.starts_with(&format!("http://127.0.0.1:{app}/")), "{url} is the application");
    for container in pod["containers"].as_array().expect("containers") {
        let context = &container["securityContext"];
        assert_eq!(context["readOnlyRootFilesystem"], true, "{container:#}");
        assert_eq!(context["allowPrivilegeEscalation"], false, "{container:#}");
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{container:#}");
    }
    assert_eq!(at(pod, "/securityContext/runAsNonRoot"), true);
}

#[test]
fn the_config_in_the_manifest_is_right_and_its_probes_are_answered() {
    let text = std::fs::read_to_string(deploy_dir().join("kubernetes/sidecar.yaml")).expect("the manifest");
    let resources: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
    let of_kind = |kind: &str| resources.iter().find(|r| r["kind"] == kind).expect(kind);
    let yaml = at(of_kind("ConfigMap"), "/data/gateway.yaml").as_str().expect("text");
    let gateway = named(at(of_kind("Deployment"), "/spec/template/spec/containers"), "gateway");
    let probe = |kind: &str| {
        let probe = at(gateway, &format!("/{kind}/httpGet"));
        assert_eq!(probe["port"], "admin");
        probe["path"].as_str().expect("a path").to_owned()
    };
    let (live, ready) = (probe("livenessProbe"), probe("readinessProbe"));

    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = write_config(dir.path(), yaml);
    let checked = cli(&["check", "--config", file.to_str().expect("a path")]);
    assert_eq!(checked.status.code(), Some(0), "{}", printed(&checked));
    assert!(!printed(&checked).contains("warning"), "{}", printed(&checked));

    let brokers = "BAYEUX_GATEWAY__CONNECTORS__ORDERS__KAFKA__BROKERS";
    let nobody = format!("[\"127.0.0.1:{}\"]", free_ports(1));
    let waiting = Gateway::start_when(Some(yaml), Until::Live, &[(brokers, &nobody)]);
    assert_eq!(waiting.admin_get(&live).0, 200, "it is not restarted because Kafka is away");
    assert_eq!(waiting.admin_get(&ready).0, 503, "but gets no clients");

    let kafka = format!("[\"{}\"]", Broker::shared(Kind::Kafka).url());
    let serving = Gateway::start_when(Some(yaml), Until::Ready, &[(brokers, &kafka)]);
    assert_eq!(serving.admin_get(&ready).0, 200);
}

#[test]
fn systemd_finds_the_unit_right_and_well_shut_in() {
    // A root as a package would lay it, with systemd's own targets.
    let root = tempfile::tempdir().expect("a temporary folder");
    let folder = |path: &str| {
        let folder = root.path().join(path);
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    };
    let program = folder("usr/bin").join("bayeux-gateway");
    std::fs::write(&program, "").expect("a file");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("executable");
    let unit = deploy_dir().join("systemd/bayeux-gateway.service");
    std::fs::copy(&unit, folder("etc/systemd/system").join("bayeux-gateway.service")).expect("the unit");
    let units = folder("usr/lib/systemd/system");
    for entry in std::fs::read_dir("/usr/lib/systemd/system").expect("systemd's units") {
        let path = entry.expect("an entry").path();
        if path.is_file() && path.extension().is_some_and(|e| e == "target" || e == "slice") {
            std::fs::copy(&path, units.join(path.file_name().expect("a name"))).expect("a unit");
        }
    }
    let analyze = |arguments: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        let root = format!("--root={}", root.path().display());
        run(command.args(arguments).args(["--no-pager", &root, "bayeux-gateway.service"]))
    };
    let verdict = analyze(&["verify", "--man=no"]);
    assert!(verdict.is_empty(), "{verdict}");
    // At most 1.5 of 10, where most services have 9.6; it fails above.
    let exposure = analyze(&["security", "--offline=true", "--threshold=15"]);
    println!("{}", exposure.lines().last().unwrap_or_default());

    let text = std::fs::read_to_string(&unit).expect("the unit");
    let setting = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).expect(name);
    assert_eq!(setting("KillSignal"), "SIGTERM");
    let schema: Value = serde_json::from_slice(&cli(&["schema"]).stdout).expect("JSON");
    let seconds = |text: &str| text.trim_end_matches('s').parse::<u64>().expect("seconds");
    let shutdown = at(&schema, "/$defs/Server/properties/shutdown_timeout/default").as_str().expect("a duration");
    assert!(seconds(setting("TimeoutStopSec")) > seconds(shutdown), "longer than the drain");
}
