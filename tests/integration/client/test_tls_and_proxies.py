"""TLS and proxies: which way requests take, and whose certificates are trusted, in both clients."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_binance_loan.exceptions import ConfigurationError, TransientError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.sandbox.exchange import SANDBOX_API_KEY, Exchange
from tests.support.certificates import new_certificate
from tests.support.clock import HOUR, NOW
from tests.support.errors import assert_no_secret
from tests.support.hook_client import HookClient
from tests.support.raw import EMPTY, raw_server
from tests.support.relay import TunnelProxy

TLS_FAILED = "Check verify, the host, and what intercepts its certificates: .* failed its TLS check"


class TestCertificates:
    """Whose certificates are trusted."""

    def test_refuses_an_unknown_certificate(
        self, client: HookClient, connect: Any, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server whose certificate is not trusted never sees the request."""
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        with raw_server([EMPTY] * 5, certificate) as (url, lines):
            connect(host=url)
            with pytest.raises(TransientError, match=TLS_FAILED) as caught:
                client.pull(NOW - HOUR, NOW)
            assert lines == []
        assert_no_secret(caught.value)

    @pytest.mark.parametrize("where", ["connection", "environment"])
    def test_trusts_a_bundle_of_ones_own(
        self,
        client: HookClient,
        connect: Any,
        certificate: Path,
        where: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A CA bundle in the connection wins over the one in the environment, which both clients honour."""
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate) if where == "environment" else "/no/such")
        with raw_server([EMPTY] * 3, certificate) as (url, lines):
            connect(host=url, extra={"verify": str(certificate)} if where == "connection" else {})
            assert client.pull(NOW - HOUR, NOW) == []
        assert len(lines) == 3

    def test_reads_a_bundle_once(
        self,
        client: HookClient,
        connect: Any,
        certificate: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """However many connections a process makes, the certificates are read once, which takes long."""
        bundle = tmp_path / "bundle.pem"
        bundle.write_bytes(certificate.read_bytes())
        loads: list[Any] = []
        load = ssl.SSLContext.load_verify_locations

        def counted(context: ssl.SSLContext, *args: Any, **kwargs: Any) -> None:
            loads.append((args, kwargs))
            load(context, *args, **kwargs)

        monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
        with raw_server([EMPTY] * 6, certificate) as (url, lines):
            connect(host=url, extra={"verify": str(bundle)})
            for _ in range(2):
                assert client.pull(NOW - HOUR, NOW) == []
        assert len(set(lines.ports)) == 2
        assert len(loads) == 1

    def test_reads_a_renewed_bundle(
        self, client: HookClient, connect: Any, certificate: Path, tmp_path: Path
    ) -> None:
        """A CA bundle that is renewed in place counts from the next pull on, without a restart."""
        bundle = tmp_path / "bundle.pem"
        bundle.write_bytes(new_certificate())
        with raw_server([EMPTY] * 3, certificate) as (url, lines):
            connect(host=url, extra={"verify": str(bundle)})
            with pytest.raises(TransientError, match="failed its TLS check"):
                client.pull(NOW - HOUR, NOW)
            bundle.write_bytes(certificate.read_bytes())
            assert client.pull(NOW - HOUR, NOW) == []
        assert len(lines) == 3

    @pytest.mark.parametrize(
        ("extra", "environment", "name", "path"),
        [
            ({"verify": __file__}, {}, "verify", __file__),
            ({}, {"REQUESTS_CA_BUNDLE": "/no/such"}, "REQUESTS_CA_BUNDLE", "/no/such"),
        ],
    )
    def test_refuses_a_bundle_without_certificates(
        self,
        client: HookClient,
        connect: Any,
        monkeypatch: pytest.MonkeyPatch,
        extra: Any,
        environment: Any,
        name: str,
        path: str,
    ) -> None:
        """A CA bundle that is none is named, before any request."""
        for variable, value in environment.items():
            monkeypatch.setenv(variable, value)
        connect(host="https://127.0.0.1:9", extra=extra)
        fact = f"Correct {name}, which is not a CA bundle: '{path}' holds no certificates"
        with pytest.raises(ConfigurationError, match=re.escape(fact)) as caught:
            client.pull(NOW - HOUR, NOW)
        assert caught.value.conn_id == "binance_loan_default"


class TestProxy:
    """Which way a request takes."""

    @pytest.mark.parametrize(
        ("form", "environment"),
        [
            ("{url}", {"HTTPS_PROXY": "http://127.0.0.1:9"}),  # the connection's wins
            ("", {"HTTPS_PROXY": "{url}"}),
            ("", {"https_proxy": "{bare}"}),
            ("", {"ALL_PROXY": "{url}"}),
        ],
    )
    def test_sends_through_the_proxy(
        self,
        client: HookClient,
        connect: Any,
        certificate: Path,
        monkeypatch: pytest.MonkeyPatch,
        form: str,
        environment: dict[str, str],
    ) -> None:
        """The connection's proxy is used, or else the environment's; it sees no request, and no key."""
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        with raw_server([EMPTY] * 3, certificate) as (url, lines), TunnelProxy(url) as proxy:
            named = {"url": proxy.url, "bare": proxy.url.removeprefix("http://")}
            for name, value in environment.items():
                monkeypatch.setenv(name, value.format(**named))
            connect(host=url, extra={"proxies": form.format(**named), "verify": str(certificate)})
            assert client.pull(NOW - HOUR, NOW) == []
        assert len(lines) == 3
        (head,) = proxy.heads
        assert head.startswith("CONNECT 127.0.0.1:")
        assert SANDBOX_API_KEY not in head

    @pytest.mark.parametrize("verify", ["bundle", False])
    def test_trusts_the_proxy_by_the_same_certificates(
        self, client: HookClient, connect: Any, certificate: Path, verify: Any
    ) -> None:
        """A proxy that is reached over TLS is verified as Binance is."""
        verify = str(certificate) if verify else False
        with raw_server([EMPTY] * 3, certificate) as (url, lines), TunnelProxy(url, certificate) as proxy:
            connect(host=url, extra={"proxies": proxy.url, "verify": verify})
            assert client.pull(NOW - HOUR, NOW) == []
        assert len(lines) == 3

    @pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
    @pytest.mark.parametrize(
        ("proxy", "message"),
        [
            ("socks5://hush", "Give {name} as an http or https URL: SOCKS is not supported"),
            ("socks5h://u:hush@h:abc", "Give {name} as an http or https URL: SOCKS is not supported"),
            ("http://127.0.0.1:hush", "Give {name} as an http or https URL: it is not one of a proxy"),
            ("http://hush@127.0.0.1:9", "Write user:password@ in {name}: it has a user"),
        ],
    )
    def test_refuses_a_wrong_proxy_of_the_environment(
        self,
        client: HookClient,
        connect: Any,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        proxy: str,
        message: str,
    ) -> None:
        """A proxy that cannot be used is an error before any request, which names the variable alone."""
        for other in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
            monkeypatch.delenv(other, raising=False)
        monkeypatch.setenv(name, proxy)
        connect(host="https://127.0.0.1:9")
        expected = message.format(name=f"the environment's {name}")
        with pytest.raises(ConfigurationError, match=re.escape(expected)) as caught:
            client.pull(NOW - HOUR, NOW)
        assert caught.value.conn_id == "binance_loan_default"
        assert "hush" not in str(caught.value)

    def test_reaches_this_machine_without_a_proxy(
        self, client: HookClient, connect: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A plain http address is reached directly: the environment's proxy would be given the API key."""
        monkeypatch.setenv("NO_PROXY", "")
        with raw_server([EMPTY] * 3) as (url, direct), raw_server([EMPTY] * 3) as (proxy, lines):
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, proxy)
            connect(host=url)
            assert client.pull(NOW - HOUR, NOW) == []
        assert (len(direct), lines) == (3, [])


class TestApiKey:
    """Where the API key is sent, and what is not sent with it."""

    def test_sends_no_login_from_netrc(
        self, client: HookClient, connect: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What `.netrc` has for the host is not sent along."""
        (tmp_path / "netrc").write_text("default login someone password something\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        heads: list[bytes] = []

        def serve(listener: socket.socket) -> None:
            for _ in range(3):
                connection, _ = listener.accept()
                with connection:
                    heads.append(connection.recv(65536))
                    connection.sendall(EMPTY.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=serve, args=(listener,), daemon=True).start()
            connect(host=f"http://127.0.0.1:{listener.getsockname()[1]}")
            assert client.pull(NOW - HOUR, NOW) == []
        assert len(heads) == 3
        assert not any(b"authorization" in head.lower() for head in heads)

    def test_the_session_reaches_the_connections_host_alone(self, exchange: Exchange, connect: Any) -> None:
        """A session of the hook sends the API key, and cannot send it anywhere else."""
        session = BinanceLoanHook().get_conn()
        with raw_server([EMPTY]) as (elsewhere, lines):
            with pytest.raises(requests.exceptions.InvalidSchema):
                session.get(elsewhere)
            assert lines == []
        url = json.loads(os.environ["AIRFLOW_CONN_BINANCE_LOAN_DEFAULT"])["host"]
        assert session.get(f"{url}/api/v3/ping").status_code == 200
