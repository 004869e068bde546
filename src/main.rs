//! The `gracekeeper` binary.
fn main() {
    for c in gracekeeper::api::crds::all() {
        println!("---\n{}", serde_saphyr::to_string(&c).unwrap());
    }
}
