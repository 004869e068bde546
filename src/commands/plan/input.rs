//! Reads objects from files, folders and standard input, and names every problem by file, document and field.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::api::{GROUP, HealthPolicy};
use crate::core::validate::validate;

/// Depth to which folders are read.
const DEPTH_LIMIT: usize = 32;

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadInput {
    /// File, or `-`.
    pub file: String,
    /// Number of the document in the file, from 1 (empty documents do not count), and the item when it is a List.
    pub document: Option<(usize, Option<usize>)>,
    /// The object, such as `HealthPolicy shop/web`.
    pub object: Option<String>,
    /// Field, such as `spec.priority`.
    pub field: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some((document, item)) = self.document {
            write!(f, ", document {document}")?;
            if let Some(item) = item {
                write!(f, ", item {item}")?;
            }
        }
        for part in [&self.object, &self.field].into_iter().flatten() {
            write!(f, ": {part}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// An object of a namespace.
pub(super) struct Object {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) value: Value,
}

/// What was read.
#[derive(Default)]
pub(super) struct Objects {
    pub(super) policies: Vec<(String, HealthPolicy)>,
    pub(super) deployments: Vec<Object>,
    /// WorkloadHealths: what the operator holds.
    pub(super) health: Vec<Object>,
    /// PodDisruptionBudgets and HorizontalPodAutoscalers.
    pub(super) around: Vec<Object>,
    /// Objects of other kinds.
    pub(super) ignored: usize,
}

/// Reads everything, or says everything that is wrong.
pub(super) fn read(names: &[String], namespace: &str, stdin: &mut dyn Read) -> Result<Objects, Vec<BadInput>> {
    let mut reader = Reader { namespace, objects: Objects::default(), seen: BTreeSet::new(), problems: Vec::new() };
    for name in names {
        if name == "-" {
            let mut bytes = Vec::new();
            match stdin.read_to_end(&mut bytes) {
                Ok(_) => reader.text("-", bytes),
                Err(error) => reader.unreadable("-", &error),
            }
        } else {
            reader.path(Path::new(name), 0, true);
        }
    }
    let objects = &reader.objects;
    if reader.problems.is_empty() && objects.policies.is_empty() && objects.deployments.is_empty() {
        reader.problem(&names.join(", "), None, "no HealthPolicy and no Deployment was read".into());
    }
    if reader.problems.is_empty() { Ok(reader.objects) } else { Err(reader.problems) }
}

struct Reader<'a> {
    namespace: &'a str,
    objects: Objects,
    seen: BTreeSet<(String, String, String)>,
    problems: Vec<BadInput>,
}

/// Where an object comes from.
struct Place<'a> {
    file: &'a str,
    document: usize,
    item: Option<usize>,
}

impl Reader<'_> {
    fn path(&mut self, path: &Path, depth: usize, named: bool) {
        let shown = path.display().to_string();
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => return self.unreadable(&shown, &error),
        };
        if !metadata.is_dir() {
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            if named || matches!(extension, "yaml" | "yml" | "json") {
                match fs::read(path) {
                    Ok(bytes) => self.text(&shown, bytes),
                    Err(error) => self.unreadable(&shown, &error),
                }
            }
            return;
        }
        if depth >= DEPTH_LIMIT {
            return self.problem(&shown, None, "the folders are nested too deeply".into());
        }
        match fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
            Ok(entries) => {
                let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
                paths.sort();
                // Links to folders are not followed: they may lead in circles, and what they show is elsewhere too.
                let is_loop = |path: &PathBuf| path.is_symlink() && path.is_dir();
                for path in paths.iter().filter(|path| !is_loop(path)) {
                    self.path(path, depth + 1, false);
                }
            }
            Err(error) => self.unreadable(&shown, &error),
        }
    }

    fn text(&mut self, file: &str, bytes: Vec<u8>) {
        let mut cursor = Cursor::new(bytes);
        let mut number = 0;
        // JSON is YAML; documents are separated by `---`.
        for document in serde_saphyr::read::<_, Value>(&mut cursor) {
            number += 1;
            match document {
                Ok(value) => self.document(file, number, value),
                Err(error) => {
                    let place = error.location().map(|at| format!("line {}, column {}: ", at.line(), at.column()));
                    let text = error.without_snippet().to_string();
                    let text = text.lines().next().unwrap_or_default();
                    self.problem(file, Some((number, None)), format!("{}{text}", place.unwrap_or_default()));
                }
            }
        }
    }

    fn document(&mut self, file: &str, document: usize, value: Value) {
        match value {
            Value::Object(mut map) if map.get("items").is_some_and(Value::is_array) && is_list(&map) => {
                let Some(Value::Array(items)) = map.remove("items") else { return };
                for (index, item) in items.into_iter().enumerate() {
                    self.object(&Place { file, document, item: Some(index + 1) }, item);
                }
            }
            value => self.object(&Place { file, document, item: None }, value),
        }
    }

    fn object(&mut self, place: &Place<'_>, value: Value) {
        let text = |path: &str| value.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (Some(kind), Some(version)) = (text("/kind"), text("/apiVersion")) else {
            return self.wrong(place, None, None, "not a Kubernetes object: apiVersion and kind must be set");
        };
        let group = version.split_once('/').map_or("", |(group, _)| group);
        if (group, kind) == ("extensions", "Deployment") {
            return self.wrong(
                place,
                Some("Deployment"),
                Some("apiVersion"),
                "must be apps/v1, is of the group extensions",
            );
        }
        let known = matches!(
            (group, kind),
            (GROUP, "HealthPolicy" | "WorkloadHealth")
                | ("apps", "Deployment")
                | ("policy", "PodDisruptionBudget")
                | ("autoscaling", "HorizontalPodAutoscaler")
        );
        if !known {
            self.objects.ignored += 1;
            return;
        }
        let namespace = text("/metadata/namespace").unwrap_or(self.namespace).to_owned();
        let name = text("/metadata/name").unwrap_or_default().to_owned();
        let kind = kind.to_owned();
        let shown = format!("{kind} {namespace}/{name}");
        if name.is_empty() {
            return self.wrong(place, Some(&shown), Some("metadata.name"), "must be set");
        }
        if !self.seen.insert((kind.clone(), namespace.clone(), name.clone())) {
            return self.wrong(place, Some(&shown), None, "is there twice");
        }
        match kind.as_str() {
            "HealthPolicy" => self.policy(place, &shown, namespace, value),
            "Deployment" => {
                let containers = value.pointer("/spec/template/spec/containers");
                if version != "apps/v1" {
                    let message = format!("must be apps/v1, is {version}");
                    return self.wrong(place, Some(&shown), Some("apiVersion"), &message);
                }
                for field in ["replicas", "minReadySeconds", "progressDeadlineSeconds", "revisionHistoryLimit"] {
                    if value
                        .pointer(&format!("/spec/{field}"))
                        .is_some_and(|number| !number.is_i64() && !number.is_null())
                    {
                        let field = format!("spec.{field}");
                        return self.wrong(place, Some(&shown), Some(&field), "must be a whole number");
                    }
                }
                if containers.and_then(Value::as_array).is_none_or(Vec::is_empty) {
                    let field = "spec.template.spec.containers";
                    return self.wrong(place, Some(&shown), Some(field), "must be a list of at least one container");
                }
                self.objects.deployments.push(Object { namespace, name, value });
            }
            "WorkloadHealth" => self.objects.health.push(Object { namespace, name, value }),
            _ => self.objects.around.push(Object { namespace, name, value }),
        }
    }

    fn policy(&mut self, place: &Place<'_>, shown: &str, namespace: String, value: Value) {
        let problems = validate(&value);
        for problem in &problems {
            self.wrong(place, Some(shown), Some(&problem.path), &problem.message);
        }
        if problems.is_empty() {
            match serde_json::from_value::<HealthPolicy>(value) {
                Ok(policy) => self.objects.policies.push((namespace, policy)),
                Err(error) => self.wrong(place, Some(shown), None, &error.to_string()),
            }
        }
    }

    fn wrong(&mut self, place: &Place<'_>, object: Option<&str>, field: Option<&str>, message: &str) {
        self.problems.push(BadInput {
            file: place.file.into(),
            document: Some((place.document, place.item)),
            object: object.map(Into::into),
            field: field.map(Into::into),
            message: message.into(),
        });
    }

    fn unreadable(&mut self, file: &str, error: &std::io::Error) {
        self.problem(file, None, error.to_string());
    }

    fn problem(&mut self, file: &str, document: Option<(usize, Option<usize>)>, message: String) {
        self.problems.push(BadInput { file: file.into(), document, object: None, field: None, message });
    }
}

fn is_list(map: &serde_json::Map<String, Value>) -> bool {
    map.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"))
}
