package client;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.cometd.bayeux.Channel;
import org.cometd.bayeux.Message;
import org.cometd.bayeux.client.ClientSession;

/**
 * Replay as clients of Salesforce's Streaming API do it: the handshake says that they know it, each subscription carries
 * their whole map of channels and integers, and each event moves its channel's integer on.
 */
final class EmpReplay implements ClientSession.Extension {
    private static final long NEW_ONLY = -1;

    private final Map<String, Long> positions = new ConcurrentHashMap<>();
    private volatile boolean supported;

    @Override
    public boolean sendMeta(ClientSession session, Message.Mutable message) {
        if (Channel.META_HANDSHAKE.equals(message.getChannel())) {
            message.getExt(true).put("replay", true);
        } else if (Channel.META_SUBSCRIBE.equals(message.getChannel()) && supported) {
            positions.putIfAbsent((String)message.get(Message.SUBSCRIPTION_FIELD), NEW_ONLY);
            message.getExt(true).put("replay", Map.copyOf(positions));
        }
        return true;
    }

    @Override
    public boolean rcvMeta(ClientSession session, Message.Mutable message) {
        if (Channel.META_HANDSHAKE.equals(message.getChannel())) {
            Map<String, Object> ext = message.getExt();
            supported = ext != null && Boolean.TRUE.equals(ext.get("replay"));
        }
        return true;
    }

    @Override
    public boolean rcv(ClientSession session, Message.Mutable message) {
        if (message.getDataAsMap().get("event") instanceof Map<?, ?> event && event.get("replayId") instanceof Long id) {
            positions.put(message.getChannel(), id);
        }
        return true;
    }
}
