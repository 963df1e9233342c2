//! The live profile of noise for people: what came to be sent, and what an observer sees of it.

use std::fmt::{self, Write};

use stadium_node::api::{InterfaceNoise, NoiseDirection, NoiseProfiles, PeerNoise};
use stadium_proto::noise::profile::Scale;

use super::units;
use crate::output::{Paint, Style, printable};

/// The longest bar of a plot, in characters.
const BAR: usize = 24;

/// Writes all profiles.
pub(super) fn render(profiles: &NoiseProfiles, style: Style) -> String {
    let mut text = String::new();
    for (number, interface) in profiles.interfaces.iter().enumerate() {
        text.push_str(if number > 0 { "\n" } else { "" });
        block(&mut text, interface, style).expect("writing to a string cannot fail");
    }
    text
}

fn block(text: &mut String, interface: &InterfaceNoise, style: Style) -> fmt::Result {
    let title = format!("interface {}", printable(&interface.name));
    writeln!(text, "{}", style.paint(Paint::Heading, &title))?;
    if interface.peers.is_empty() {
        writeln!(text, "  no peers")?;
    }
    for peer in &interface.peers {
        self::peer(text, peer, style)?;
    }
    Ok(())
}

fn peer(text: &mut String, peer: &PeerNoise, style: Style) -> fmt::Result {
    let noise = match peer.noise.byte {
        0 => "no noise".to_owned(),
        _ => format!(
            "ratio {}, size {}, filler {}, engine {}",
            peer.noise.ratio, peer.noise.size, peer.noise.filler, peer.engine
        ),
    };
    let budget = match peer.budget_bits {
        Some(bits) if peer.noise.byte != 0 => format!(", budget {:.3} Mbit/s", bits as f64 / 1e6),
        _ => String::new(),
    };
    let label = printable(peer.label());
    writeln!(text, "\n  {}  {}{budget}", style.paint(Paint::Heading, &label), printable(&noise))?;
    for (title, profile) in [("sent", &peer.tx), ("received", &peer.rx)] {
        match profile {
            Some(profile) => direction(text, title, profile, style)?,
            None => writeln!(text, "    {title:<9}  nothing in a session with noise or filler")?,
        }
    }
    Ok(())
}

fn direction(
    text: &mut String,
    title: &str,
    profile: &NoiseDirection,
    style: Style,
) -> fmt::Result {
    let title = style.paint(Paint::Heading, title);
    writeln!(
        text,
        "    {title:<9}  real  {} packets, {}, and {} of filler",
        profile.packets,
        units::bytes(profile.bytes),
        units::bytes(profile.filler_bytes)
    )?;
    writeln!(
        text,
        "{:15}noise {} packets, {}",
        "",
        profile.noise_packets,
        units::bytes(profile.noise_bytes)
    )?;
    let mut parts = Vec::new();
    if let Some(ratio) = profile.ratio {
        parts.push(format!("ratio {ratio:.3}, agreed {:.3}", profile.agreed_ratio));
    }
    match profile.owed {
        Some(owed @ 1..) => parts.push(format!("{owed} noise packets owed")),
        Some(ahead @ ..=-1) => parts.push(format!("{} noise packets ahead", -ahead)),
        _ => {}
    }
    if let Some(shed @ 1..) = profile.shed {
        parts.push(format!("{shed} shed"));
    }
    if let Some(percent) = profile.overhead_percent {
        parts.push(format!("overhead {percent:.0} %"));
    }
    if !parts.is_empty() {
        writeln!(text, "{:15}{}", "", parts.join("; "))?;
    }
    let outside = &profile.outside;
    let (sizes, gaps) = (&profile.inside.sizes, &profile.inside.gaps);
    plot(text, "sizes", Scale::Sizes, sizes, [&outside.real_sizes, &outside.noise_sizes], style)?;
    plot(text, "gaps", Scale::Gaps, gaps, [&outside.gaps, &Vec::new()], style)
}

/// Draws two histograms beside each other, the one outside of two parts: `#` real, `+` noise.
fn plot(
    text: &mut String,
    title: &str,
    scale: Scale,
    inside: &[u64],
    outside: [&Vec<u64>; 2],
    style: Style,
) -> fmt::Result {
    let part = |counts: &[u64], bucket: usize| counts.get(bucket).copied().unwrap_or(0);
    let whole = |bucket: usize| part(outside[0], bucket) + part(outside[1], bucket);
    let buckets = inside.len().max(outside[0].len()).max(outside[1].len());
    let most_inside = inside.iter().copied().max().unwrap_or(0);
    let most_outside = (0..buckets).map(whole).max().unwrap_or(0);
    if most_inside + most_outside == 0 {
        return Ok(());
    }
    let (sum_inside, sum_outside): (u64, u64) =
        (inside.iter().sum(), (0..buckets).map(whole).sum());
    let outside_title = match outside[1].is_empty() {
        true => "outside",
        false => "outside: # real, + noise",
    };
    writeln!(
        text,
        "{:6}{:<9}  {:<width$}  {}",
        "",
        style.paint(Paint::Faint, title),
        style.paint(Paint::Faint, "inside"),
        style.paint(Paint::Faint, outside_title),
        width = BAR + 8
    )?;
    let bar = |n: u64, most: u64| match most {
        0 => 0,
        // what is there is seen
        _ => (n as f64 / most as f64 * BAR as f64).ceil() as usize,
    };
    let percent = |n: u64, sum: u64| match n {
        0 => String::new(),
        _ => format!("{:5.1} %", 100.0 * n as f64 / sum as f64),
    };
    for bucket in (0..buckets).filter(|bucket| part(inside, *bucket) + whole(*bucket) > 0) {
        let (real, noise) = (part(outside[0], bucket), part(outside[1], bucket));
        let all = bar(real + noise, most_outside);
        let noise = match noise {
            0 => 0,
            _ => (noise as f64 / whole(bucket) as f64 * all as f64).round() as usize,
        };
        let left = "#".repeat(bar(part(inside, bucket), most_inside));
        let right = "#".repeat(all - noise) + &"+".repeat(noise);
        writeln!(
            text,
            "{:6}{:>9}  {left:<BAR$} {:>7}  {right:<BAR$} {:>7}",
            "",
            scale.label(bucket),
            percent(part(inside, bucket), sum_inside),
            percent(whole(bucket), sum_outside),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use stadium_node::api::{Inside, NoiseStatus, Outside};

    fn direction() -> NoiseDirection {
        let mut inside = vec![0; 24];
        (inside[0], inside[22]) = (10, 30);
        let mut outside = vec![0; 24];
        outside[22] = 40;
        let mut gaps = vec![0; 26];
        (gaps[0], gaps[11]) = (29, 10);
        NoiseDirection {
            packets: 40,
            bytes: 43_120,
            filler_bytes: 13_680,
            noise_packets: 40,
            noise_bytes: 56_800,
            ratio: Some(1.0),
            agreed_ratio: 1.0,
            owed: Some(-3),
            shed: Some(2),
            overhead_percent: Some(163.4),
            inside: Inside { sizes: inside, gaps: gaps.clone() },
            outside: Outside { real_sizes: outside.clone(), noise_sizes: outside, gaps },
        }
    }

    #[test]
    fn a_profile_shows_both_sides() {
        let peers = vec![PeerNoise {
            name: Some("bob".to_owned()),
            public_key: "KEY=".to_owned(),
            noise: NoiseStatus::from_byte(130, false),
            engine: "ledger".to_owned(),
            budget_bits: Some(20_000_000),
            tx: Some(direction()),
            rx: None,
        }];
        let interfaces = vec![InterfaceNoise { name: "stadium0".to_owned(), peers }];
        let text = render(&NoiseProfiles::new(interfaces), Style::PLAIN);
        for line in [
            "  bob  ratio 1:1, size match, filler full, engine ledger, budget 20.000 Mbit/s",
            "    sent       real  40 packets, 42.1 KiB, and 13.4 KiB of filler",
            "               ratio 1.000, agreed 1.000; 3 noise packets ahead; 2 shed; overhead 163 %",
            "            0 B  ########                  25.0 %",
            "         1408 B  ########################  75.0 %  ############++++++++++++ 100.0 %",
            "    received   nothing in a session with noise or filler",
        ] {
            assert!(text.lines().any(|l| l.trim_end() == line), "{line}\nin\n{text}");
        }
    }
}
