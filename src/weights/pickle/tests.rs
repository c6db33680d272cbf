use super::*;

#[test]
fn a_dictionary_of_numbers_is_read() {
    // {"a": 1, "b": -2, "c": (3,)} in protocol 2.
    let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00aK\x01X\x01\x00\x00\x00bJ\xfe\xff\xff\xffX\x01\x00\x00\x00cK\x03\x85u.";
    let pickle = read(bytes).unwrap();
    let int = |name| {
        pickle
            .entry(pickle.root(), name)
            .and_then(|at| pickle.int(at))
    };
    assert_eq!((int("a"), int("b"), int("d")), (Some(1), Some(-2), None));
    let tuple = pickle.entry(pickle.root(), "c").unwrap();
    assert!(matches!(pickle.value(tuple), Value::Tuple(items) if items.len() == 1));
}

#[test]
fn nothing_is_called() {
    let pickle = read(b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.").unwrap();
    assert_eq!(pickle.value(pickle.root()), &Value::Opaque);
}

#[test]
fn a_pickle_that_holds_itself_is_read() {
    let pickle = read(b"}q\x00X\x01\x00\x00\x00ah\x00s.").unwrap();
    assert_eq!(pickle.entry(pickle.root(), "a"), Some(pickle.root()));
}

#[test]
fn no_bytes_make_it_panic() {
    let whole =
        b"\x80\x02}q\x00(X\x01\x00\x00\x00aK\x01X\x01\x00\x00\x00bJ\xfe\xff\xff\xffcm\nn\n)Ru.";
    for len in 0..whole.len() {
        assert!(read(&whole[..len]).is_err(), "{len}");
    }
    for at in 0..whole.len() {
        for byte in 0..=255 {
            let mut bytes = whole.to_vec();
            bytes[at] = byte;
            let _ = read(&bytes);
        }
    }
}
