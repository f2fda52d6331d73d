//! Numbers as RFC 8785 section 3.2.2.3 writes them: `Number::toString` of ECMA-262.

/// Appends the shortest decimal text that reads back as `value`, which is finite.
pub(crate) fn write(value: f64, out: &mut String) {
    if value == 0.0 {
        // Minus zero is written without its sign.
        out.push('0');
        return;
    }
    // serde_json gives the shortest digits and breaks a tie to the even one, as ECMA-262 does
    // and `format!` does not. Only the layout differs.
    let shortest = serde_json::to_string(&value).unwrap_or_default();
    let unsigned = shortest.strip_prefix('-');
    if unsigned.is_some() {
        out.push('-');
    }
    let (mantissa, power) = unsigned
        .unwrap_or(&shortest)
        .split_once('e')
        .unwrap_or_else(|| (unsigned.unwrap_or(&shortest), "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    let leading_zeros = all.len() - significant.len();
    let point = i32::try_from(whole.len()).unwrap_or(0) - i32::try_from(leading_zeros).unwrap_or(0);
    let exponent = power.parse::<i32>().unwrap_or(0) + point - 1;
    layout(significant.trim_end_matches('0'), exponent, out);
}

/// ECMA-262 section 6.1.6.1.20, steps 6 to 12, with `n = exponent + 1`.
fn layout(digits: &str, exponent: i32, out: &mut String) {
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    if (0..21).contains(&exponent) {
        let whole = usize::try_from(exponent + 1).unwrap_or(0);
        if count <= exponent + 1 {
            out.push_str(digits);
            out.extend(std::iter::repeat_n('0', whole - digits.len()));
        } else {
            let (before, after) = digits.split_at_checked(whole).unwrap_or((digits, ""));
            out.push_str(before);
            out.push('.');
            out.push_str(after);
        }
    } else if (-6..0).contains(&exponent) {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', usize::try_from(-exponent - 1).unwrap_or(0)));
        out.push_str(digits);
    } else {
        let (first, others) = digits.split_at_checked(1).unwrap_or((digits, ""));
        out.push_str(first);
        if !others.is_empty() {
            out.push('.');
            out.push_str(others);
        }
        out.push('e');
        if exponent > 0 {
            out.push('+');
        }
        out.push_str(&exponent.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8785 appendix B, by the bits of the double.
    #[test]
    fn follows_rfc_8785_appendix_b() {
        let rows = [
            (0x0000_0000_0000_0000, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5554, "333333333.33333325"),
            (0x41b3_de43_5555_5555, "333333333.3333333"),
            (0x41b3_de43_5555_5556, "333333333.3333334"),
            (0x41b3_de43_5555_5557, "333333333.33333343"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ];
        for (bits, expected) in rows {
            let mut written = String::new();
            write(f64::from_bits(bits), &mut written);
            assert_eq!(written, expected);
        }
    }
}
