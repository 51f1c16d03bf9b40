use proptest::prelude::*;

use super::*;

fn frame(kind: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend(id.to_be_bytes());
    frame.extend((payload.len() as u32).to_be_bytes());
    frame.extend(payload);
    frame
}

fn queued(wire: &Wire) -> Vec<u8> {
    locked(&wire.held).pieces.iter().flatten().copied().collect()
}

proptest! {
    #[test]
    fn frames_go_on_whole_however_the_stream_is_cut(cuts in prop::collection::vec(1_usize..20, 0..60)) {
        let frames = [
            frame(b'O', 1, b""), frame(b'D', 1, b"question"), frame(b'O', 2, b""), frame(b'W', 1, &[0, 0, 1, 0]),
            frame(b'F', 2, b""), frame(b'X', 1, b""),
        ].concat();
        let all = [&frames[..], &frame(b'E', 0, b""), b"F 2 index.json\n[].\n"].concat();
        let wire = Wire::default();
        let (mut rest, mut output) = (&all[..], Vec::new());
        for cut in cuts {
            let (piece, left) = rest.split_at(cut.min(rest.len()));
            output.extend_from_slice(wire.take(piece).unwrap());
            rest = left;
        }
        output.extend_from_slice(wire.take(rest).unwrap());
        prop_assert_eq!(queued(&wire), frames);
        prop_assert_eq!(output, b"F 2 index.json\n[].\n");
    }
}

#[test]
fn a_frame_that_the_container_may_not_send_is_an_error() {
    for bad in [
        frame(b'O', 2, b""),
        frame(b'O', 1, b"x"),
        frame(b'D', 1, b"x"),
        frame(b'X', 0, b""),
        frame(b'E', 1, b""),
        frame(b'Z', 0, b""),
        b"F 2 index.json\n".to_vec(),
    ] {
        let wire = Wire::default();
        assert!(wire.take(&bad).is_err(), "{}", bad.escape_ascii());
        assert!(queued(&wire).is_empty());
    }
    for bad in [
        frame(b'O', 1, b""),
        frame(b'D', 1, b""),
        frame(b'W', 1, b"123"),
        frame(b'F', 1, b"x"),
        frame(b'D', 2, b"x"),
        b"D\0\0\0\x01\0\0\x80\x01".to_vec(),
        b"D\0\0\0\x01\xff\xff\xff\xff".to_vec(),
    ] {
        let wire = Wire::default();
        wire.take(&frame(b'O', 1, b"")).unwrap();
        assert!(wire.take(&bad).is_err(), "{}", bad.escape_ascii());
    }
}

#[test]
fn the_proxy_opens_no_connections_and_ends_no_stream() {
    let wire = Wire::default();
    wire.take(&frame(b'O', 1, b"")).unwrap();
    let come = |bytes: &[u8]| {
        let mut whole = Vec::new();
        let cut = Cutter::default()
            .cut(bytes, &mut whole, |head| wire.may_come(head))
            .map(<[u8]>::len);
        cut.map(|left| (left, whole))
    };
    let good = [
        frame(b'D', 1, b"answer"),
        frame(b'W', 1, &[0; 4]),
        frame(b'F', 1, b""),
        frame(b'X', 1, b""),
    ]
    .concat();
    assert_eq!(come(&good).unwrap(), (0, good));
    for bad in [
        frame(b'O', 2, b""),
        frame(b'E', 0, b""),
        frame(b'D', 2, b"x"),
        frame(b'D', 1, b""),
    ] {
        assert!(come(&bad).is_err(), "{}", bad.escape_ascii());
    }
}

#[tokio::test]
async fn what_waits_for_the_proxy_is_bounded() {
    let wire = Wire::default();
    wire.take(&frame(b'O', 1, b"")).unwrap();
    let data = frame(b'D', 1, &[0; 32_768]);
    let mut taken = 0;
    while tokio::time::timeout(Duration::ZERO, wire.room()).await.is_ok() {
        wire.take(&data).unwrap();
        taken += 1;
    }
    assert_eq!(taken, HELD / data.len() + 1);
    drop(wire.next().await);
    drop(wire.next().await);
    drop(wire.next().await);
    wire.room().await;
}
