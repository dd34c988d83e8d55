"""Business events as real systems publish them.

Read from VERDICT_EVENTS_DIR, else from a folder shared/events beside the checkout, else from the project's own samples;
all three are laid out alike. What is asserted about an event is read from the payload itself, so any of them will do.
"""

import copy
import dataclasses
import json
import os
import pathlib

from . import paths

SAMPLES = paths.ROOT / "tests" / "integration" / "samples"


def events_dir():
    given = os.environ.get("VERDICT_EVENTS_DIR")
    if given:
        return pathlib.Path(given)
    beside = paths.ROOT.parent / "shared" / "events"
    return beside if beside.is_dir() else SAMPLES


def load(name):
    return json.loads((events_dir() / name).read_text())


@dataclasses.dataclass(frozen=True)
class Payload:
    """One event as its producer puts it into Kafka, and the facts in it that a decision must carry on."""

    name: str
    topic: str
    value: bytes
    headers: tuple
    key: bytes
    event_id: str
    event_type: str
    facts: dict


def _json(value):
    return json.dumps(value, separators=(",", ":")).encode()


def shopify_order():
    """A Shopify webhook's body is the bare order; its topic travels beside it, here in a header."""
    order = load("shopify/order.json")["order"]
    return Payload(
        "Shopify order", "shopify.orders", _json(order), (("X-Shopify-Topic", b"orders/create"),),
        str(order["id"]).encode(), str(order["id"]), "orders/create",
        {"order": order["id"], "total": order["total_price"], "currency": order["currency"]})


def _stripe_event(kind, file, suffix):
    event = copy.deepcopy(load("stripe/event.json"))
    event.update(id=event["id"][:-len(suffix)] + suffix, type=kind, data={"object": load(file)})
    return event


def stripe_payment_failed():
    event = _stripe_event("invoice.payment_failed", "stripe/invoice.json", "Inv")
    invoice = event["data"]["object"]
    return Payload(
        "Stripe invoice.payment_failed", "stripe.events", _json(event), (), invoice["customer"].encode(),
        event["id"], event["type"],
        {"invoice": invoice["id"], "customer": invoice["customer"], "amount": invoice["amount_due"],
         "currency": invoice["currency"], "attempts": invoice["attempt_count"]})


def stripe_dispute():
    event = _stripe_event("charge.dispute.created", "stripe/dispute.json", "Dis")
    dispute = event["data"]["object"]
    return Payload(
        "Stripe charge.dispute.created", "stripe.events", _json(event), (), dispute["charge"].encode(),
        event["id"], event["type"],
        {"dispute": dispute["id"], "charge": dispute["charge"], "amount": dispute["amount"],
         "currency": dispute["currency"]})


def amazon_order_change():
    body = load("amazon/OrderChangeNotification.example.json")
    change = body["Payload"]["OrderChangeNotification"]
    return Payload(
        "Amazon order change", "amazon.notifications", _json(body), (), change["AmazonOrderId"].encode(),
        body["NotificationMetadata"]["NotificationId"], body["NotificationType"],
        {"order": change["AmazonOrderId"], "unshipped": change["Summary"]["NumberOfItemsUnshipped"],
         "asked": [item["OrderItemId"] for item in change["Summary"]["OrderItems"] if item.get("IsBuyerRequestedCancel")]})


def all_payloads():
    return [shopify_order(), stripe_payment_failed(), stripe_dispute(), amazon_order_change()]
