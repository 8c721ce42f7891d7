use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use gate::policy::is_plain_name;
use origin::app;
use origin::clock::Clock;
use origin::config::Settings;
use origin::edge_config::{self, Api, CLUSTER, Istio, Plugin, Source};
use origin::policy;
use origin::status_lists::StatusLists;

use crate::cli;

pub(super) const EXAMPLES: &str = "\
Examples:
  cosygate policy render --target envoy --region north --wasm /etc/cosygate/filter.wasm > filter.json
  cosygate policy render --target istio --static --url oci://registry.example/cosygate-filter:1 \\
    --namespace istio-ingress --selector istio=ingressgateway > cosygate.yaml";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Who reads it: Envoy as a file of extension config discovery, Istio as YAML documents.
    #[arg(long)]
    target: Target,
    /// Name of the edge's region; default: that of the settings.
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// The edge's name of the origin's cluster. In a mesh: outbound|<port>||<host>.
    #[arg(long, value_name = "NAME", default_value = CLUSTER, conflicts_with = "is_static")]
    cluster: String,
    /// The policy itself, for edges that no control plane reaches: it never runs out, and they hear
    /// of nothing until this is rendered and rolled out again.
    #[arg(long = "static")]
    is_static: bool,
    /// Envoy: where the compiled filter lies at the edge; default: where it lies here.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "sha256", "namespace", "selector"])]
    wasm: Option<PathBuf>,
    /// Istio: as which kind of object; traffic-extension needs release 1.30.
    #[arg(long, value_enum, default_value_t = Kind::WasmPlugin)]
    kind: Kind,
    /// Istio: where the compiled filter is to be had: oci://…, https://… or a file of the gateway.
    #[arg(long, required_if_eq("target", "istio"))]
    url: Option<String>,
    /// Istio: the SHA-256 of the compiled filter.
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// Istio: the gateway's namespace.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Istio: a label of the gateway's pods; without any, every proxy of the namespace is meant.
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    selector: Vec<(String, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    Envoy,
    Istio,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    WasmPlugin,
    TrafficExtension,
}

pub(super) async fn run(settings: &Settings, options: Options) -> anyhow::Result<()> {
    let region = options.region.as_deref().unwrap_or(&settings.region);
    ensure!(is_plain_name(region), "--region must be 1 to 64 of a-z, 0-9, _ and -");
    let store = app::open_store(settings).await?;
    super::revision(&store, None).await?;
    let clock = Clock::system();
    let in_force = policy::load(&store, &app::open_master(settings)?, &clock, &StatusLists::default()).await?;
    let document = &in_force.policy.document;
    let variables = edge_config::variables(document);
    let (roots, seed) = (in_force.roots(), in_force.bundle(region, "", clock.now_s()));
    let with_keys = document.clone().with_origin_keys(&in_force.issuer.keys());
    let (source, tag) = match options.is_static {
        true => (Source::Policy(&with_keys), document.rev.to_string()),
        false => (Source::Control { cluster: &options.cluster, roots: &roots, seed: &seed.text }, seed.tag),
    };
    let plugin = Plugin { region, source, variables: &variables };
    match options.target {
        Target::Envoy => {
            let of_istio = options.kind != Kind::WasmPlugin
                || options.url.is_some()
                || options.sha256.is_some()
                || options.namespace.is_some();
            ensure!(
                !of_istio && options.selector.is_empty(),
                "--kind, --url, --sha256, --namespace, --selector: only for istio"
            );
            let wasm = match options.wasm {
                Some(file) => file,
                None => std::path::absolute(&settings.filter_wasm)?,
            };
            cli::print_json(&plugin.discovery_response(&tag, &wasm)?)
        }
        Target::Istio => {
            let istio = Istio {
                api: match options.kind {
                    Kind::WasmPlugin => Api::WasmPlugin,
                    Kind::TrafficExtension => Api::TrafficExtension,
                },
                url: address(options.url.as_deref().unwrap_or_default())?,
                sha256: options.sha256.as_deref().map(hash).transpose()?,
                namespace: options.namespace,
                selector: options.selector.into_iter().collect(),
            };
            // What is JSON is YAML, too.
            let documents: Result<Vec<String>, _> =
                edge_config::istio_documents(&plugin, &istio).iter().map(serde_json::to_string_pretty).collect();
            cli::print(documents?.join("\n---\n"))
        }
    }
}

fn label(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("must be key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn address(text: &str) -> anyhow::Result<String> {
    if text.starts_with('/') {
        return Ok(format!("file://{text}"));
    }
    if !["oci://", "https://", "file:///"].iter().any(|scheme| text.starts_with(scheme)) {
        bail!("--url must begin with oci://, https:// or file:///, or be an absolute path");
    }
    Ok(text.to_owned())
}

fn hash(text: &str) -> anyhow::Result<String> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
    let is_hash = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hash.then_some(digits).context("--sha256 must be 64 hexadecimal digits")
}
