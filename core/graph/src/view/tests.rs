use super::*;

/// A view with every kind of dim: `[3, 2, 4, 3, 4]` over a buffer `[4, 2, 3, 2]`.
fn mixed() -> View {
    View::contiguous(&[4, 2, 3, 2])
        .expand(1, 3)
        .slice(0, 1, 4)
        .and_then(|v| v.pad(4, 2, 0))
        .map(|v| v.permute(&[0, 2, 4, 1, 3]))
        .and_then(|v| v.slice(4, 0, 2))
        .unwrap()
}

#[test]
fn shapes_strides_and_offsets() {
    let view = mixed();
    assert_eq!(view.shape(), [3, 2, 4, 3, 2]);
    assert_eq!(view.strides(), [12, 6, 1, 0, 2]);
    assert_eq!(view.offset(), 12);
    assert_eq!(view.elements(), 144);
    assert_eq!(view.buffer_shape(), [4, 2, 3, 2]);
    // [4, 2, 3, 2] as the buffer has them, then the broadcast dim
    assert_eq!(view.buffer_order(), [0, 1, 4, 2, 3]);
    assert!(view.is_sliced() && view.is_padded() && view.is_broadcast() && !view.is_plain());
}

#[test]
fn positions_in_the_buffer() {
    let view = mixed();
    assert_eq!(view.index(&[0, 0, 0, 0, 0]), None);
    assert_eq!(view.index(&[0, 0, 1, 2, 1]), None);
    assert_eq!(view.index(&[0, 0, 2, 0, 0]), Some(12));
    assert_eq!(view.index(&[2, 1, 3, 2, 1]), Some(36 + 6 + 2 + 1));
    let after = View::contiguous(&[2]).pad(0, 0, 1).unwrap();
    assert_eq!(after.index(&[2]), None);
}

#[test]
fn trackers_keep_the_view() {
    for view in [mixed(), View::contiguous(&[]), View::contiguous(&[5, 1])] {
        assert_eq!(View::from_tracker(&view.tracker()), Some(view));
    }
}

#[test]
fn reading_agrees_with_indexing() {
    let view = mixed();
    let buffer: Vec<i32> = (1..=48).collect();
    let mut want = Vec::new();
    for i in 0..view.elements() {
        let (mut rest, mut at) = (i, vec![0; view.rank()]);
        for (l, n) in view.shape().iter().enumerate().rev() {
            at[l] = rest % n;
            rest /= n;
        }
        want.push(view.index(&at).map_or(0, |p| buffer[p]));
    }
    assert_eq!(read(&buffer, &view), want);
}

#[test]
fn reshapes_that_need_no_copy() {
    let plain = View::contiguous(&[4, 6]);
    assert_eq!(plain.reshape(&[2, 12]), Some(View::contiguous(&[2, 12])));
    // heads: [batch, seq, heads, dim] -> [batch, heads, seq, dim] and dims split again
    let heads = View::contiguous(&[2, 5, 12])
        .reshape(&[2, 5, 3, 4])
        .unwrap()
        .permute(&[0, 2, 1, 3]);
    let split = heads.reshape(&[2, 3, 5, 2, 2]).unwrap();
    assert_eq!(split.strides(), [60, 4, 12, 2, 1]);
    // dims of size one come and go anywhere
    let ones = heads.reshape(&[1, 2, 3, 1, 5, 4, 1]).unwrap();
    assert_eq!(
        ones.reshape(&[2, 3, 5, 4]).unwrap().strides(),
        heads.strides()
    );
    // broadcast dims merge among themselves
    let wide = View::contiguous(&[3]).expand(0, 4).expand(0, 5);
    let merged = wide.reshape(&[20, 3]).unwrap();
    assert_eq!(merged.strides(), [0, 1]);
    // heads back to one dim, if their order in memory is the logical one
    let back = heads.permute(&[0, 2, 1, 3]).reshape(&[10, 12]).unwrap();
    assert_eq!(back.strides(), [12, 1]);
}

#[test]
fn reshapes_that_need_a_copy() {
    let turned = View::contiguous(&[4, 6]).permute(&[1, 0]);
    assert_eq!(turned.reshape(&[24]), None);
    let cut = View::contiguous(&[4, 6]).slice(1, 0, 4).unwrap();
    assert_eq!(cut.reshape(&[16]), None);
    let mixed = View::contiguous(&[3]).expand(0, 4);
    assert_eq!(mixed.reshape(&[12]), None);
    // but what is not touched may be cut
    assert!(cut.reshape(&[2, 2, 4]).is_some());
}

#[test]
fn what_luminal_cannot_show_is_refused() {
    let plain = View::contiguous(&[4]);
    let cut = plain.slice(0, 1, 3).unwrap();
    assert_eq!(cut.pad(0, 1, 0), None);
    assert_eq!(plain.expand(0, 3).pad(0, 1, 0), None);
    let padded = plain.pad(0, 2, 2).unwrap();
    assert_eq!(padded.slice(0, 1, 5), None);
    assert_eq!(padded.slice(0, 3, 5), plain.slice(0, 1, 3));
    let one = plain.slice(0, 1, 2).unwrap();
    assert_eq!(one.broadcast(&[7]), None);
    assert_eq!(plain.broadcast(&[5]), None);
}

#[test]
fn broadcasting_aligns_at_the_right() {
    assert_eq!(broadcast_shape(&[2, 1, 3], &[4, 1]), Some(vec![2, 4, 3]));
    assert_eq!(broadcast_shape(&[], &[4]), Some(vec![4]));
    assert_eq!(broadcast_shape(&[2], &[3]), None);
    let view = View::contiguous(&[2, 1]).broadcast(&[5, 2, 3]).unwrap();
    assert_eq!(view.strides(), [0, 1, 0]);
}
