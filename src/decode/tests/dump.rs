use super::*;
#[test]
fn dump() {
    let Ok(file) = std::env::var("DUMP") else { return };
    for (n, (link, original_length, data)) in
        super::corpus::packets(std::path::Path::new(&file)).into_iter().enumerate()
    {
        let mut o = Segment::default();
        let r = decode(&Packet { original_length, ..packet(link, &data) }, &mut o);
        if r == Decoded::Tcp {
            println!(
                "DUMP {}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{:#06x}",
                n + 1,
                o.src.ip(),
                o.dst.ip(),
                o.src_port,
                o.dst_port,
                o.seq,
                o.ack,
                o.payload,
                o.flags.0,
                o.window,
                o.mss,
                o.tsval,
                o.tsecr,
                o.traits.0
            );
        }
    }
}
