//! `gracekeeper crd`: the CustomResourceDefinitions, ready for `kubectl apply --server-side -f -`.

use crate::api::crds;

/// Both definitions as one YAML stream.
pub fn yaml() -> Result<String, serde_saphyr::ser::Error> {
    let mut text = String::new();
    for definition in crds::all() {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(&definition)?);
    }
    Ok(text)
}
