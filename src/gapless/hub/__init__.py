"""The hub: fans out the events of a backend to many subscribers in one process."""

from gapless.hub.channels import Channels
from gapless.hub.stats import HubStats, SubscriberStats
from gapless.hub.subscriber import Subscriber

__all__ = ["Channels", "HubStats", "Subscriber", "SubscriberStats"]
