// Must say that `Vec<u8>` cannot be part of a key, at the name of the value.
fn main() {
    let list = vec![1_u8];
    let _ = verrou::key!("t:<list>", list);
    let _ = verrou::key!("t:<a>", a = Some(1));
}
