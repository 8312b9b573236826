package rdma

// RejectReason is why a connection request was refused, the Status of a [Rejected]
// event on InfiniBand and RoCE: InfiniBand Architecture Specification volume 1, section
// 12.6.7.2, as named by the kernel's include/rdma/ib_cm.h. (iWARP reports a negative
// errno in its place.)
type RejectReason int

// Reject reasons. Nobody listening is RejectInvalidServiceID; a refusal by the peer's
// application is RejectConsumerDefined.
const (
	RejectNoQP                      RejectReason = 1
	RejectNoEEC                     RejectReason = 2
	RejectNoResources               RejectReason = 3
	RejectTimeout                   RejectReason = 4
	RejectUnsupported               RejectReason = 5
	RejectInvalidCommID             RejectReason = 6
	RejectInvalidCommInstance       RejectReason = 7
	RejectInvalidServiceID          RejectReason = 8
	RejectInvalidTransportType      RejectReason = 9
	RejectStaleConn                 RejectReason = 10
	RejectRDCNotExist               RejectReason = 11
	RejectInvalidGID                RejectReason = 12
	RejectInvalidLID                RejectReason = 13
	RejectInvalidSL                 RejectReason = 14
	RejectInvalidTrafficClass       RejectReason = 15
	RejectInvalidHopLimit           RejectReason = 16
	RejectInvalidPacketRate         RejectReason = 17
	RejectInvalidAltGID             RejectReason = 18
	RejectInvalidAltLID             RejectReason = 19
	RejectInvalidAltSL              RejectReason = 20
	RejectInvalidAltTrafficClass    RejectReason = 21
	RejectInvalidAltHopLimit        RejectReason = 22
	RejectInvalidAltPacketRate      RejectReason = 23
	RejectPortCMRedirect            RejectReason = 24
	RejectPortRedirect              RejectReason = 25
	RejectInvalidMTU                RejectReason = 26
	RejectInsufficientRespResources RejectReason = 27
	RejectConsumerDefined           RejectReason = 28
	RejectInvalidRNRRetry           RejectReason = 29
	RejectDuplicateLocalCommID      RejectReason = 30
	RejectInvalidClassVersion       RejectReason = 31
	RejectInvalidFlowLabel          RejectReason = 32
	RejectInvalidAltFlowLabel       RejectReason = 33
	RejectVendorOptionNotSupported  RejectReason = 35
)

var rejectReasonNames = [...]string{
	RejectNoQP:                      "no QP",
	RejectNoEEC:                     "no EEC",
	RejectNoResources:               "no resources",
	RejectTimeout:                   "timeout",
	RejectUnsupported:               "unsupported request",
	RejectInvalidCommID:             "invalid communication ID",
	RejectInvalidCommInstance:       "invalid communication instance",
	RejectInvalidServiceID:          "invalid service ID",
	RejectInvalidTransportType:      "invalid transport type",
	RejectStaleConn:                 "stale connection",
	RejectRDCNotExist:               "RDC does not exist",
	RejectInvalidGID:                "invalid GID",
	RejectInvalidLID:                "invalid LID",
	RejectInvalidSL:                 "invalid SL",
	RejectInvalidTrafficClass:       "invalid traffic class",
	RejectInvalidHopLimit:           "invalid hop limit",
	RejectInvalidPacketRate:         "invalid packet rate",
	RejectInvalidAltGID:             "invalid alternate GID",
	RejectInvalidAltLID:             "invalid alternate LID",
	RejectInvalidAltSL:              "invalid alternate SL",
	RejectInvalidAltTrafficClass:    "invalid alternate traffic class",
	RejectInvalidAltHopLimit:        "invalid alternate hop limit",
	RejectInvalidAltPacketRate:      "invalid alternate packet rate",
	RejectPortCMRedirect:            "port and CM redirect",
	RejectPortRedirect:              "port redirect",
	RejectInvalidMTU:                "invalid MTU",
	RejectInsufficientRespResources: "insufficient responder resources",
	RejectConsumerDefined:           "consumer defined",
	RejectInvalidRNRRetry:           "invalid RNR retry count",
	RejectDuplicateLocalCommID:      "duplicate local communication ID",
	RejectInvalidClassVersion:       "invalid class version",
	RejectInvalidFlowLabel:          "invalid flow label",
	RejectInvalidAltFlowLabel:       "invalid alternate flow label",
	RejectVendorOptionNotSupported:  "vendor option not supported",
}

// String returns the specification's words for the reason.
func (r RejectReason) String() string {
	return enumName(rejectReasonNames[:], int(r), "RejectReason")
}
