import type { Logger } from "@berth/core/log";
import { messageOf } from "@berth/errors";

/**
 * This tells systemd about the daemon's state; does nothing when systemd did not start it.
 *
 * @see sd_notify(3)
 */
export async function notifySystemd(state: "READY=1" | "STOPPING=1", log: Logger): Promise<void> {
  const address = process.env["NOTIFY_SOCKET"];
  if (!address) return;
  try {
    const { sendDatagram } = await import("@berth/linux/sockets");
    sendDatagram(address, new TextEncoder().encode(state));
  } catch (error) {
    log.warn("cannot notify systemd", { state, error: messageOf(error) });
  }
}
