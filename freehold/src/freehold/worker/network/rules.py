"""The packet filter of one engine, as the text of an nft table of its own."""

from ipaddress import IPv4Network

# Where clouds keep the credentials of the machine: all but Azure's address, which serves much else, at any port.
_METADATA = "169.254.0.0/16, 100.100.100.200, 192.0.0.192"
_WIRE_SERVER = "168.63.129.16 tcp dport { 80, 32526 }"


def table_name(key: str) -> str:
    return f"freehold_{key}"


def remove_table(key: str) -> str:
    """Rules that leave no table, whether there was one or not."""
    name = table_name(key)
    return f"table inet {name}\ndelete table inet {name}\n"


def container_rules(key: str, bridge: str, subnet: IPv4Network) -> str:
    """Containers reach the outside and the machine's DNS (a link-local address, on some clouds); nothing else of the machine, and
    neither they nor others reach in. The machine reaches them, and hears what they answer: their own web servers.
    """
    return (
        remove_table(key)
        + f"""
table inet {table_name(key)} {{
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname "{bridge}" meta l4proto {{ tcp, udp }} th dport 53 accept
        iifname "{bridge}" ct state established ct direction reply accept
        iifname "{bridge}" drop
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname "{bridge}" ip daddr 169.254.0.0/16 meta l4proto {{ tcp, udp }} th dport 53 accept
        iifname "{bridge}" ip daddr {{ {_METADATA} }} drop
        iifname "{bridge}" ip daddr {_WIRE_SERVER} drop
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
