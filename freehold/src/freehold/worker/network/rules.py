"""The packet filter of one engine, as the text of an nft table of its own."""

from ipaddress import IPv4Network

_LINK_LOCAL = "169.254.0.0/16"  # where clouds keep the credentials of the machine


def table_name(key: str) -> str:
    return f"freehold_{key}"


def remove_table(key: str) -> str:
    """Rules that leave no table, whether there was one or not."""
    name = table_name(key)
    return f"table inet {name}\ndelete table inet {name}\n"


def container_rules(key: str, bridge: str, subnet: IPv4Network) -> str:
    """Containers reach the outside and the machine's DNS; nothing else of the machine, and neither they nor others reach in."""
    return (
        remove_table(key)
        + f"""
table inet {table_name(key)} {{
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname "{bridge}" meta l4proto {{ tcp, udp }} th dport 53 accept
        iifname "{bridge}" drop
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname "{bridge}" ip daddr {_LINK_LOCAL} drop
        oifname "{bridge}" ct state established,related accept
        oifname "{bridge}" drop
    }}
    chain outbound {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {subnet} oifname != "{bridge}" masquerade
    }}
}}
"""
    )
